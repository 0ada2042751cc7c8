"""Run folder: new each time, never overwritten, and one command's alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
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
MADE_WITH = "made_with.json"


@contextmanager
def made_folder(wanted: str | Path | None, name: str, parent: Path = Path("runs")) -> Iterator[Path]:
    """Give a folder for results, which is made; where what is done inside the `with` fails, nothing is left.

    Folders that were made for it are removed if it fails and they hold nothing.

    Args:
        wanted: the folder the user asked for, which may be there; it is not looked into.
        name: a new one is made otherwise: parent/name, parent/name-2 and so on.
        parent: where such folders are kept.

    Raises:
        UserError: it cannot be made.
    """
    made: list[Path] = []
    try:
        try:
            folder = _numbered(parent, name, made) if wanted is None else _made(Path(wanted), made)
        except OSError as error:
            raise UserError(f"{error.filename}: cannot make the folder: {error.strerror}") from error
        yield folder
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):  # it holds something
                path.rmdir()
        raise


def _numbered(parent: Path, name: str, made: list[Path]) -> Path:
    _made(parent, made)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        made.append(folder)
        return folder


def _made(folder: Path, made: list[Path]) -> Path:
    """Make a folder and those it lies in, and note which were not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        made.append(path)
    folder.mkdir(exist_ok=True)  # an error where it is a file
    return folder


@contextmanager
def results_folder(
    wanted: str | Path | None,
    name: str,
    work: str,
    parent: Path = Path("runs"),
    *,
    keep: bool = False,
    again: Callable[[Path], bool] = lambda folder: False,
) -> Iterator[Path]:
    """Give a folder for the results of one command, which is locked inside the `with`; see `made_folder`.

    A folder where the same work was begun, but killed or stopped by Ctrl-C, is given once more: it is done
    anew. What it wrote until an error is removed, so that a corrected command may have the folder.

    Args:
        wanted: the folder the user asked for.
        name: used otherwise.
        work: tells apart what is written there from what other commands write.
        parent: where folders of that name are kept.
        keep: what was written until an error is worth something, and the same work goes on with it.
        again: tells whether a folder holds what the same work wrote, which ended with something left to do.

    Raises:
        UserError: `wanted` holds other files, another command is at work there, or it cannot be made.
    """
    with made_folder(wanted, name, parent) as folder, locked(folder) as lock:
        if lock.work != work and not again(folder):
            require_empty(folder)
        lock.begin(work)
        try:
            yield folder
        except Exception:
            if not keep:
                clear(folder)
            raise
        finally:
            if not names_in(folder):
                lock.work = ""  # whatever comes next may have it


def require_finished(folder: Path) -> None:
    """Check that a folder holds what `detkit train` or `detkit eval` leaves at its end.

    Raises:
        UserError: a file is missing.
    """
    for name in (CONFIG, DETECTIONS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: has no {name}, so it is not the folder of a finished run; give one that "
                "detkit train (with data.val) or detkit eval wrote"
            )


def require_new(file: Path, option: str = "--out") -> None:
    """Check that nothing lies where a file is going to be written.

    Raises:
        UserError: something does; the message names the option that chooses another place.
    """
    if file.exists():
        raise UserError(
            f"{file}: exists already, and results are never overwritten; name another with {option}"
        )


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
    """Remove what a stopped command left in its locked folder, halves of files included."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def names_in(folder: Path) -> set[str]:
    """Return the names of what a folder holds, but for its lock and for halves of files."""
    names = (file.name for file in folder.iterdir())
    return {name for name in names if name != LOCK and not fnmatchcase(name, ".?*.part")}
