"""Writes pictures."""

from __future__ import annotations

from pathlib import Path

import cv2

from detkit.errors import UserError
from detkit.report.lettering import Image


def write_picture(file: Path, image: Image) -> None:
    """Write (H, W, 3) uint8 RGB pixels as JPEG or PNG, by the file's extension.

    Raises:
        UserError: the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise UserError(f"{file}: the picture could not be written")
