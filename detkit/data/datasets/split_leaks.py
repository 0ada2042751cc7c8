"""What training and validation share: what `init` or `check` found, kept for `train` to repeat it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from detkit.annotations.coco import read_json
from detkit.errors import UserError
from detkit.names import counted
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import cache_folder, key_of
from detkit.storage.json_text import json_bytes


class Leaks(NamedTuple):
    """What training and validation share.

    Attributes:
        pairs: of near duplicates.
        films: whose frames are in both.
    """

    pairs: int = 0
    films: int = 0


def remember_leaks(train: Iterable[str], val: Iterable[str], leaks: Leaks) -> None:
    """Note what two sets share, by the paths of their images.

    Where the folder of caches cannot be written, nothing is noted.
    """
    with suppress(OSError, UserError):
        write_atomically(_file(train, val), json_bytes(leaks._asdict()))


def known_leaks(train: Iterable[str], val: Iterable[str]) -> Leaks:
    """Return what two sets share as it was noted, nothing where nobody has looked."""
    try:
        content = read_json(_file(train, val))
        return Leaks(int(content["pairs"]), int(content["films"]))
    except (UserError, KeyError, TypeError, ValueError):
        return Leaks()


def leak_warning(leaks: Leaks) -> str:
    """Return what is said about what training and validation share; nothing where that is nothing.

    Example:
        >>> leak_warning(Leaks(pairs=1, films=2))[:65]
        'training and validation share 1 near-duplicate pair and 2 films, '
    """
    what = {"near-duplicate pair": leaks.pairs, "film": leaks.films}
    counts = [counted(count, name) for name, count in what.items() if count]
    if not counts:
        return ""
    return (
        f"training and validation share {' and '.join(counts)}, so results will look too good; "
        "detkit check lists what"
    )


def _file(train: Iterable[str], val: Iterable[str]) -> Path:
    parts = [sorted(os.path.abspath(path) for path in paths) for paths in (train, val)]  # noqa: PTH100
    return cache_folder() / "leaks" / f"{key_of('leaks', *parts)}.json"
