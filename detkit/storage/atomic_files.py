"""Writes files so that a reader sees either the old content or all of the new."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(file: Path, content: bytes | str) -> None:
    """Write a file beside its place and rename it there; folders are made as needed; text is UTF-8."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
