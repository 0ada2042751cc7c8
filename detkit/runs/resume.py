"""Resumption of a training where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detkit.errors import UserError
from detkit.runtime.processes import restarts
from detkit.runtime.progress import say
from detkit.storage.run_folder import CHECKPOINT, CONFIG
from detkit.storage.strict_yaml import read_yaml, read_yaml_file

_SHOWN = 100  # keys of another config: one that was given by mistake has nothing in common
_LETTERS = 200


def goes_on(out: Path | None) -> bool:
    """Return whether torchrun started this training again and `out` holds how far it had come."""
    return out is not None and restarts() > 0 and (out / CHECKPOINT).is_file()


def begins_again(out: Path) -> bool:
    """Return whether torchrun started this training again before it had left anything but its config."""
    return restarts() > 0 and (out / CONFIG).is_file() and not (out / CHECKPOINT).is_file()


def announce_changes(folder: Path, config_text: str) -> None:
    """Say which keys of the config differ from those the training was started with.

    Args:
        folder: the run folder, with its config.
        config_text: the resolved config of now.

    Raises:
        UserError: there is no training in the folder.
    """
    written = folder / CONFIG
    if not written.is_file():
        raise UserError(f"{written}: no such file; --resume goes on with a training that wrote it into --out")
    before, now = _flat(read_yaml_file(written).whole()), _flat(read_yaml(config_text, CONFIG).whole())
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    for key in changed[:_SHOWN]:
        old, new = (f"{values.get(key)}"[:_LETTERS] for values in (before, now))
        say(f"changed since the training began: {key[:_LETTERS]}: {old} -> {new}")
    if len(changed) > _SHOWN:
        say(f"... and {len(changed) - _SHOWN} other keys")


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
