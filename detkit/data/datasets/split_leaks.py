"""Near duplicates in training and validation: what `init` or `check` found, kept for `train` to repeat."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from detkit.annotations.coco import read_json
from detkit.errors import UserError
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import cache_folder, key_of
from detkit.storage.json_text import json_bytes


def remember_leaks(train: Iterable[str], val: Iterable[str], leaks: int) -> None:
    """Note how many near duplicates two sets share, by the paths of their images.

    Where the folder of caches cannot be written, nothing is noted.
    """
    with suppress(OSError, UserError):
        write_atomically(_file(train, val), json_bytes({"leaks": leaks}))


def known_leaks(train: Iterable[str], val: Iterable[str]) -> int:
    """Return how many near duplicates two sets share as it was noted, 0 where nobody has looked."""
    try:
        content = read_json(_file(train, val))
    except UserError:
        return 0
    leaks = content.get("leaks") if isinstance(content, dict) else 0
    return leaks if isinstance(leaks, int) else 0


def leak_warning(leaks: int) -> str:
    """Return what is said about near duplicates in training and validation.

    Example:
        >>> leak_warning(1)[:60]
        '1 pair of near duplicates lies in both training and validati'
    """
    what = "1 pair of near duplicates lies" if leaks == 1 else f"{leaks:,} pairs of near duplicates lie"
    return f"{what} in both training and validation, so results will look too good; detkit check lists them"


def _file(train: Iterable[str], val: Iterable[str]) -> Path:
    parts = [sorted(os.path.abspath(path) for path in paths) for paths in (train, val)]  # noqa: PTH100
    return cache_folder() / "leaks" / f"{key_of('leaks', *parts)}.json"
