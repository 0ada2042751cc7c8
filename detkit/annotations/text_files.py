"""Text files of a dataset: lists of images, names of classes, YOLO labels."""

from __future__ import annotations

from pathlib import Path

from detkit.errors import UserError


def read_text(file: Path) -> str:
    """Return the content of a text file.

    Raises:
        UserError: the file is missing, cannot be read or is not UTF-8; it is named.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8 (byte {error.start})") from None
    except FileNotFoundError:
        raise UserError(f"{file}: the file does not exist") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not blank, without the space around them.

    Raises:
        UserError: see `read_text`.
    """
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]
