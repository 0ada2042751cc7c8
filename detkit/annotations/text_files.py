"""Files of annotations: whether one is there, and its content within bounds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from detkit.errors import UserError
from detkit.names import encodable
from detkit.storage.atomic import write_atomically
from detkit.storage.regular_files import MEBIBYTE, read_bytes

LARGEST_TEXT = 256 * MEBIBYTE
"""Bytes of a text file; a list of a million images has half of it."""


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


def write_lines(file: Path, lines: Iterable[str]) -> None:
    """Write lines that `read_lines` gives back.

    Raises:
        UserError: a line would not come back, as it holds the end of one, begins or ends with space or is no
            text; or the file cannot be written.
    """
    lines = list(lines)
    lost = next((line for line in lines if encodable(line).strip().splitlines() != [line]), None)
    if lost is not None:
        raise UserError(f"{file}: a list with one name a line cannot hold {lost!r}; rename that file")
    write_atomically(file, "".join(f"{line}\n" for line in lines))
