"""Files of annotations: whether one is there, and its content within bounds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from detkit.errors import UserError, cut

MEBIBYTE = 1 << 20
LARGEST_TEXT = 256 * MEBIBYTE
"""Bytes of a text file; a list of a million images has half of it."""


def is_file(path: Path) -> bool:
    """Return whether a file is there; where its name is one that no file can have, it is not."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Return whether a folder is there, as `is_file` does."""
    return os.path.isdir(path)  # noqa: PTH112


def read_bytes(file: Path, largest: int | None = None) -> bytes:
    """Return the content of a regular file; pipes and devices, which may have no end, are not opened.

    Args:
        file: the file.
        largest: the most bytes that it may have; None sets no limit.

    Raises:
        UserError: the file is missing, too large or cannot be read; it is named.
    """
    try:
        about = file.stat()
        if stat.S_ISREG(about.st_mode):
            if largest is not None and about.st_size > largest:
                size = f"{about.st_size / MEBIBYTE:.0f} MiB, more than the {largest // MEBIBYTE} MiB"
                raise UserError(f"{file}: has {size} that such a file may have")
            return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{file}: the file does not exist") from None
    except OSError as error:
        raise UserError(f"{cut(str(file), 300)}: cannot be read ({error.strerror})") from None
    kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or a device"
    raise UserError(f"{file}: cannot be read (it is {kind})")


def read_text(file: Path, largest: int = LARGEST_TEXT) -> str:
    """Return the content of a text file.

    Args:
        file: the file.
        largest: the most bytes that it may have.

    Raises:
        UserError: the file is missing, too large, cannot be read or is not UTF-8; it is named.
    """
    try:
        return read_bytes(file, largest).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8 (byte {error.start})") from None


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not blank, without the space around them.

    Raises:
        UserError: see `read_text`.
    """
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]
