"""Folder of a training, new or one where it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from detkit.config.dump import flow
from detkit.data.datasets.image_screen import ImageScreen
from detkit.errors import UserError, cut
from detkit.runtime.environment import environment
from detkit.runtime.processes import restarts
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.folder_lock import locked
from detkit.storage.json_text import json_bytes
from detkit.storage.regular_files import read_bytes
from detkit.storage.run_folder import (
    CHECKPOINT,
    CONFIG,
    MADE_WITH,
    METRICS,
    clear,
    made_folder,
    names_in,
    require_empty,
)
from detkit.storage.strict_yaml import read_yaml, read_yaml_file
from detkit.training.staged.stages import FOLDER as STAGES

# What a training writes before there is anything to go on with.
SKIPPED_IMAGES = "skipped_images.json"
_WORTHLESS = (CONFIG, MADE_WITH, METRICS, SKIPPED_IMAGES, "events.out.tfevents*")
_BEFORE = (*_WORTHLESS, "nonfinite*.pt")
_FIXED = ("data.classes", "detector.type", "train.type")
"""Keys without which it is another training: what it has learned would be lost, or mean something else."""
_SHOWN = 100  # keys of another config: one that was given by mistake has nothing in common
_LETTERS = 200


@contextmanager
def training_folder(
    wanted: Path | None, name: str, config_text: str, *, resume: bool
) -> Iterator[tuple[Path, bool]]:
    """Give the folder of a training, with its config, locked inside the `with`; and whether it is resumed.

    A training that was killed before it left a checkpoint or a stage begins anew in its folder, resumed or
    not; one that failed before leaves nothing, so that a corrected one may have the folder. Where torchrun
    starts the processes again after one of them ended, they resume.

    Args:
        wanted: the folder that the user asked for; None takes a new one in runs/.
        name: of such a new one.
        config_text: the resolved config.
        resume: whether the user wants to go on with what is there.

    Raises:
        UserError: the folder is another training's (of other classes, say) or holds other things, has no
            training to go on with, or another process is at work there.
    """
    if resume and wanted is not None and not (wanted / CONFIG).is_file():
        raise UserError(
            f"{wanted / CONFIG}: no such file; --resume goes on with a training that wrote it into --out; "
            "without --resume one begins there"
        )
    with made_folder(wanted, name) as folder, locked(folder) as lock:
        written = folder / CONFIG
        before = written.read_text(encoding="utf-8", errors="replace") if written.is_file() else ""
        begun = bool(before) and ((folder / CHECKPOINT).exists() or (folder / STAGES).exists())
        resumed = begun and (resume or (restarts() > 0 and before == config_text))
        if resumed:
            _require_same_training(folder, config_text)
            announce_changes(folder, config_text)
        elif before == config_text and _is_unstarted(folder):
            say(f"{folder}: the training was stopped before its first checkpoint; it begins anew")
        elif resume:
            announce_changes(folder, config_text)
            raise UserError(
                f"{folder}: there is no checkpoint to go on with, and the training cannot begin anew there, "
                "since its config was another one or something else is there; name a new folder with --out"
            )
        else:
            require_empty(folder, ", or add --resume to go on with the training there" if begun else "")
        lock.begin("")
        write_atomically(written, config_text)
        if not resumed:
            note_environment(folder)
        try:
            yield folder, resumed
        except Exception as error:
            if resumed and isinstance(error, UserError):
                # Perhaps the config is of something else, which can be seen only later.
                with suppress(UserError):
                    write_atomically(written, before)
            elif not resumed and _is_unstarted(folder, worthless=True):
                clear(folder)  # a corrected command may have it
            raise


def note_environment(folder: Path) -> None:
    """Keep the command, versions and machine that the results in a folder are made with, for its report."""
    write_atomically(folder / MADE_WITH, json_bytes(environment(), indented=True))


def made_with(folder: Path) -> dict[str, str]:
    """Return what `note_environment` kept; nothing where there is none."""
    try:
        noted = json.loads(read_bytes(folder / MADE_WITH))
        return {str(name): str(value) for name, value in noted.items()}
    except (UserError, ValueError, AttributeError):
        return {}


def skipped_before(folder: Path | None) -> list[dict[str, str]]:
    """Return image and error of each image that the training in a folder left out, as its resuming does, too.

    Raises:
        UserError: the list is damaged.
    """
    file = None if folder is None else folder / SKIPPED_IMAGES
    if file is None or not file.is_file():
        return []
    try:
        items = json.loads(read_bytes(file).decode())
        return [{"image": str(item["image"]), "error": str(item["error"])} for item in items]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{file}: not a list of images that a training left out; remove it") from None


def without_skipped(folder: Path) -> ImageScreen:
    """Return what leaves out the images that the training in a folder left out, and looks at no file.

    Raises:
        UserError: their list is damaged.
    """
    return ImageScreen(0, skipped_before(folder), decide=lambda _: {})


def _is_unstarted(folder: Path, *, worthless: bool = False) -> bool:
    """Return whether all that a folder holds was written by a training before its first checkpoint.

    Args:
        folder: the run folder.
        worthless: and nobody wants to look at it.
    """
    names = names_in(folder)
    if worthless:
        names -= {STAGES} if not any(file.is_file() for file in (folder / STAGES).rglob("*")) else set()
    patterns = _WORTHLESS if worthless else _BEFORE
    return all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)


def announce_changes(folder: Path, config_text: str) -> None:
    """Say which keys of the config differ from those the training was started with.

    Args:
        folder: the run folder, with its config.
        config_text: the resolved config of now.
    """
    changed = _changes(folder, config_text)
    for key, values in list(changed.items())[:_SHOWN]:
        old, new = (f"{value}"[:_LETTERS] for value in values)
        say(f"changed since the training began: {key[:_LETTERS]}: {old} -> {new}")
    if len(changed) > _SHOWN:
        say(f"... and {len(changed) - _SHOWN} other keys")


def _require_same_training(folder: Path, config_text: str) -> None:
    changed = _changes(folder, config_text)
    for key in _FIXED:
        if key in changed:
            old, new = (cut(flow(value)) for value in changed[key])
            raise UserError(
                f"{folder}: its training has {key}: {old}, and not {new}: that would be another training; "
                "begin it in a new folder (--out), with --from this one to start from its weights"
            )


def _changes(folder: Path, config_text: str) -> dict[str, tuple[Any, Any]]:
    """Return the keys of the config that differ, with the values of then and of now."""
    before, now = (
        _flat(read_yaml_file(folder / CONFIG).whole()),
        _flat(read_yaml(config_text, CONFIG).whole()),
    )
    keys = sorted(before.keys() | now.keys())
    return {key: (before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)}


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted keys.

    Example:
        >>> _flat({"a": {"b": 1}, "c": [2]})
        {'a.b': 1, 'c': [2]}
    """
    if not isinstance(node, dict):
        return {prefix: node}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
