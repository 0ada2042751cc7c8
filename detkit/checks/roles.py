"""Roles of the splits of a dataset: training, validation, test."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

TRAINED, EVALUATED = "trained", "evaluated"

_TRAINED = ("train", "training")
_VALIDATED = ("val", "valid", "validation", "minival", "dev")
_TESTED = ("test",)


def role(part: str) -> str | None:
    """Return what a part is for by its name: train, val or test; None for names like trainval.

    Example:
        >>> role("2007_train"), role("valid"), role("trainval")
        ('train', 'val', None)
    """
    last = part.lower().rsplit("_", 1)[-1]
    for name, words in (("train", _TRAINED), ("val", _VALIDATED), ("test", _TESTED)):
        if last in words:
            return name
    return None


def roles_of(parts: Iterable[str], wanted: str) -> list[str]:
    """Return the splits for training, or those for evaluation.

    Args:
        parts: their names.
        wanted: `TRAINED` or `EVALUATED`.
    """
    names = ("train",) if wanted == TRAINED else ("val", "test")
    return [part for part in parts if role(part) in names]


def disjoint(parts: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of parts that must not share an image, the training split first.

    Example:
        >>> disjoint(["val", "trainval", "train"])
        [('train', 'val')]
    """
    known = sorted(
        (part for part in parts if role(part)), key=lambda p: ("train", "val", "test").index(str(role(p)))
    )
    return [(a, b) for a, b in combinations(known, 2) if role(a) != role(b)]
