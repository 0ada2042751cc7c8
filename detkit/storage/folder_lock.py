"""Lock of a folder: one command at a time works in it, and what a killed one left is known as its own."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.errors import UserError

if sys.platform != "win32":
    import fcntl

LOCK = "run.lock"
_MOST_BYTES = 4096
_held: set[Path] = set()  # the system's locks keep out other processes, not the own one


@dataclass
class FolderLock:
    """The lock of a folder, held by this process.

    Attributes:
        work: the work that was begun in the folder and not finished, by this or an earlier command; empty
            where there is none.
    """

    work: str
    _descriptor: int | None

    def begin(self, work: str) -> None:
        """Note which work is done; if it is not finished, the next who locks the folder finds the note.

        Args:
            work: tells it apart from other work; empty leaves no note.
        """
        self.work = work
        if self._descriptor is not None:
            _write(self._descriptor, {"pid": os.getpid(), "host": socket.gethostname(), "work": work})


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Keep other commands out of a folder inside a `with`.

    The file run.lock in it names the process; it is removed at the end, but where work was begun and failed.
    One that a killed process left is taken over. The lock is the system's (`fcntl`), of which a dead process
    holds none, however soon another one has its number; where a file system has no locks, the number decides.
    On Windows there is no lock.

    Args:
        folder: it is made where it is not there.

    Raises:
        UserError: another process is at work there, or one of another machine may be.
    """
    if sys.platform == "win32":
        folder.mkdir(parents=True, exist_ok=True)
        yield FolderLock("", None)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve() / LOCK
        descriptor, work = _take(place)
    except OSError as error:
        raise UserError(f"{folder / LOCK}: cannot be made: {error.strerror}") from error
    _held.add(place)
    lock = FolderLock(work, descriptor)
    try:
        lock.begin(work)
        yield lock
        lock.work = ""
    finally:
        with suppress(OSError):
            if lock.work:
                _write(descriptor, {"work": lock.work})
            elif _is_file(place, descriptor):
                place.unlink()
        os.close(descriptor)
        _held.discard(place)


def _take(place: Path) -> tuple[int, str]:
    """Return the locked file and the unfinished work that it notes."""
    if place in _held:
        raise UserError(f"{place.parent}: this process is at work there already")
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            work = _lock(descriptor, place)
            if _is_file(place, descriptor):
                return descriptor, work
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed it meanwhile


def _lock(descriptor: int, place: Path) -> str:
    """Lock an open file, and return the unfinished work that it notes."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise UserError(f"{place}: not a file; remove it")
    is_free = _is_free(descriptor)
    pid, host, work = _read(descriptor, place)
    own, folder = socket.gethostname(), place.parent
    if is_free is False or (is_free is None and host == own and _runs(pid)):
        raise UserError(
            f"{folder}: process {pid} of {host} is at work there; wait until it ends, or name another folder"
        )
    if pid and host != own:
        raise UserError(
            f"{folder}: process {pid} of another machine or container, {host}, was at work there, and {own} "
            f"cannot see whether it still is; if it has ended, remove {place} and start again"
        )
    return work


def _is_free(descriptor: int) -> bool | None:
    """Lock a file if no other process holds it; None where the file system has no locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN) else None
    return True


def _read(descriptor: int, place: Path) -> tuple[int, str, str]:
    """Return process, host and unfinished work; 0 and nothing where no process is noted."""
    try:
        note = json.loads(os.pread(descriptor, _MOST_BYTES, 0) or b"{}")  # empty: killed before it wrote
        return int(note.get("pid", 0)), ascii(note.get("host", ""))[1:-1], str(note.get("work", ""))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{place}: not a lock that a command of detkit left; remove it") from None


def _runs(pid: int) -> bool:
    """Return whether a process of this machine runs, but for this one, which may have a dead one's number."""
    if pid <= 0 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return True


def _is_file(place: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one that has the name."""
    try:
        return os.path.samestat(place.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write(descriptor: int, note: dict[str, Any]) -> None:
    content = json.dumps(note).encode()
    os.pwrite(descriptor, content, 0)
    os.truncate(descriptor, len(content))
