"""Atomic writing: after a crash, a kill or on a full disk a file holds the old content or all of the new."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from detkit.errors import UserError
from detkit.names import encodable, file_name


def _usual_mode() -> int:
    mask = os.umask(0)  # it can be asked for by setting it alone, so once, before there are threads
    os.umask(mask)
    return 0o666 & ~mask


_MODE = _usual_mode()
_LONGEST_OF_PART = 230  # bytes; what is put around it makes 20 more


def write_atomically(file: Path, content: bytes | str, *, sync: bool = True) -> None:
    """Write a file in one piece; folders are made as needed, and text is UTF-8 (see `encodable`).

    Args:
        file: the file to replace or to make.
        content: all of it.
        sync: see `durable_file`.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    with durable_file(file, sync=sync) as part:
        part.write_bytes(encodable(content).encode() if isinstance(content, str) else content)


@contextmanager
def durable_file(file: Path, *, sync: bool = True, alone: bool = True) -> Iterator[Path]:
    """Give the path of a file to write; once written it is on the disk and takes the place of `file`.

    Folders are made as needed. When the writing fails, what stood at `file` before stays.

    Args:
        file: the file to replace or to make.
        sync: wait until the disk has it. That takes 10 ms, too long for one file an image of a dataset
            that is simply written again after a crash of the machine.
        alone: no other process writes the same file meanwhile. Then the path is always the same, so that
            what a killed process left is overwritten.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    name = file_name(file.name, _LONGEST_OF_PART)
    part = file.with_name(f".{name}.part" if alone else f".{name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with suppress(OSError):  # some file systems have no modes
            part.chmod(_MODE)  # safetensors makes files that no one else may read
        if sync:
            flush(part)
        part.replace(file)
        if sync:
            flush(file.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        kept = "; the one that was there is unharmed" if file.exists() else ""
        raise UserError(f"{file}: could not be written ({reason}){_room(file.parent)}{kept}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the system put a file, or the names in a folder, on the disk before going on."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder; its renames are in the journal anyway
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: BaseException) -> str | None:
    """Return what the system said, or None if the error is not the system's."""
    # torch reports a failed write as RuntimeError while handling the OSError; safetensors only as text.
    for cause in (error, error.__context__):
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
    return str(error) if isinstance(error, SafetensorError) and "I/O error" in str(error) else None


def _room(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    return f"; {shutil.disk_usage(folder).free / 2**20:.0f} MB are free there"
