"""Roles of the splits of a dataset: training, validation, test."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "minival", "dev"),
    "test": ("test",),
}
ROLES = tuple(_WORDS)


def role(part: str) -> str | None:
    """Return what a part is for by its name, one of `ROLES`; None for names like trainval.

    Example:
        >>> role("2007_train"), role("valid"), role("trainval")
        ('train', 'val', None)
    """
    last = part.lower().rsplit("_", 1)[-1]
    return next((name for name, words in _WORDS.items() if last in words), None)


def disjoint(parts: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of parts that must not share an image, the training split first.

    Example:
        >>> disjoint(["val", "trainval", "train"])
        [('train', 'val')]
    """
    known = sorted((part for part in parts if role(part)), key=lambda part: ROLES.index(str(role(part))))
    return [(a, b) for a, b in combinations(known, 2) if role(a) != role(b)]
