"""Run folder: new each time, never overwritten, and one command's alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from detkit.errors import UserError
from detkit.storage.folder_lock import LOCK, locked

CONFIG = "config.yaml"
MODEL = "model.safetensors"
CHECKPOINT = "last.pt"
METRICS = "metrics.jsonl"
REPORT = "report.html"
DETECTIONS = "detections.json"


def new_folder(wanted: str | Path | None, name: str, parent: Path = Path("runs")) -> Path:
    """Make and return an empty folder for results.

    Args:
        wanted: the folder the user asked for; it must not hold anything yet.
        name: used otherwise, as parent/name, parent/name-2 and so on.
        parent: where such folders are kept.

    Raises:
        UserError: `wanted` holds files already, or cannot be made.
    """
    try:
        if wanted is not None:
            wanted = Path(wanted)
            wanted.mkdir(parents=True, exist_ok=True)
            require_empty(wanted)
            return wanted
        number = 1
        while True:
            folder = parent / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
                continue
            return folder
    except OSError as error:
        raise UserError(f"{error.filename}: cannot make the folder: {error.strerror}") from error


@contextmanager
def results_folder(
    wanted: str | Path | None, name: str, work: str, parent: Path = Path("runs")
) -> Iterator[Path]:
    """Give a folder for the results of one command, which is locked inside the `with`; see `new_folder`.

    A folder where the same work was begun, but killed or broken off, is given once more: it is done anew.

    Args:
        wanted: the folder the user asked for.
        name: used otherwise.
        work: tells apart what is written there from what other commands write.
        parent: where folders of that name are kept.

    Raises:
        UserError: `wanted` holds other files, another command is at work there, or it cannot be made.
    """
    folder = new_folder(None, name, parent) if wanted is None else Path(wanted)
    try:
        with locked(folder) as lock:
            if lock.work != work:
                require_empty(folder)
            lock.begin(work)
            try:
                yield folder
            finally:
                if not names_in(folder):
                    lock.work = ""  # whatever comes next may have it
    except BaseException:
        if wanted is None:
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def require_empty(folder: Path, advice: str = "") -> None:
    """Check that a folder holds nothing but its lock and halves of files, which a killed command leaves.

    Args:
        folder: an existing folder.
        advice: what else to do about it.

    Raises:
        UserError: it holds something else.
    """
    if names_in(folder):
        raise UserError(
            f"{folder}: the folder is not empty, and results are never overwritten; name another one{advice}"
        )


def clear(folder: Path) -> None:
    """Remove what a stopped command left in its locked folder, to do its work anew."""
    for name in names_in(folder):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def names_in(folder: Path) -> set[str]:
    """Return the names of what a folder holds, but for its lock and for halves of files."""
    names = (file.name for file in folder.iterdir())
    return {name for name in names if name != LOCK and not fnmatchcase(name, ".?*.part")}
