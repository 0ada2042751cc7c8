"""Which entry of a file of proposals belongs to which image of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet

Keys = Callable[[str], str]

# From the most to the least exact; files by other tools know images by any of these.
_KINDS: tuple[Keys, ...] = (
    lambda name: PurePath(name).as_posix(),
    lambda name: PurePosixPath(name.replace("\\", "/")).name,
    lambda name: PurePosixPath(name.replace("\\", "/")).stem,
)


def positions_of(names: Sequence[str], truth: AnnotationSet) -> NDArray[np.int64]:
    """Return for each image of a dataset the position of its name, -1 where there is none.

    An image is known by its path, by its file name, by that without the extension, or by its id in the
    dataset: the first of these that tells all images apart and finds all of them, otherwise the one that
    finds most.

    Args:
        names: of the entries of a file of proposals.
        truth: the dataset, N images.

    Returns:
        (N,) positions in `names`.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> truth, _ = two_images()
        >>> positions_of([f"elsewhere/{name}" for name in truth.image_files.tolist()], truth)
        array([0, 1])
    """
    files = truth.image_files.tolist()
    best = np.full(len(files), -1, np.int64)
    for kind in _KINDS:
        best = max(best, _look_up(list(map(kind, names)), list(map(kind, files))), key=_num_found)
        if (best >= 0).all():
            return best
    ids = list(map(str, truth.image_ids.tolist()))
    return max(best, _look_up(names, ids), key=_num_found)


def _look_up(keys: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    table: dict[str, int] = {}
    for position, key in enumerate(keys):
        table[key] = -1 if key in table else position  # what two entries share tells nothing
    if len(set(wanted)) < len(wanted):
        return np.full(len(wanted), -1, np.int64)
    return np.array([table.get(key, -1) for key in wanted], dtype=np.int64)


def _num_found(positions: NDArray[np.int64]) -> int:
    return int((positions >= 0).sum())
