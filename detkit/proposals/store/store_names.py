"""Which entry of a file of proposals belongs to which image of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet

Positions = NDArray[np.int64]


def positions_of(names: Sequence[str], truth: AnnotationSet) -> Positions:
    """Return for each image of a dataset the position of its name, -1 where there is none.

    An image is known by the end of its path, as far as the name goes, by its file name, by that without the
    extension, or by its id in the dataset: the first of these that tells all images apart and finds all of
    them, otherwise the one that finds most.

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
    paths = [name.replace("\\", "/").removeprefix("./") for name in names]
    files = [str(file).replace("\\", "/") for file in truth.image_files.tolist()]
    best = _by_ends(paths, [Path(truth.root, file).as_posix() for file in files])
    for other, wanted in (
        ([PurePosixPath(path).name for path in paths], [PurePosixPath(file).name for file in files]),
        ([PurePosixPath(path).stem for path in paths], [PurePosixPath(file).stem for file in files]),
        (names, list(map(str, truth.image_ids.tolist()))),
    ):
        if (best >= 0).all():
            break
        best = max(best, _look_up(other, wanted), key=_num_found)
    return best


def _by_ends(paths: list[str], files: list[str]) -> Positions:
    """Find the entry whose path is the longest end of each file's path."""
    table = _table(paths)
    lengths = sorted({path.count("/") + 1 for path in paths}, reverse=True)
    found = []
    for file in files:
        parts = file.split("/")
        ends = ("/".join(parts[-length:]) for length in lengths)
        found.append(next((table[end] for end in ends if end in table), -1))
    return _if_different(found)


def _look_up(keys: Sequence[str], wanted: Sequence[str]) -> Positions:
    table = _table(keys)
    return _if_different([table.get(key, -1) for key in wanted])


def _table(keys: Sequence[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for position, key in enumerate(keys):
        table[key] = -1 if key in table else position  # what two entries share tells nothing
    return table


def _if_different(positions: list[int]) -> Positions:
    """Return the positions; none where two images would share an entry."""
    found = np.array(positions, dtype=np.int64)
    known = found[found >= 0]
    return found if len(np.unique(known)) == len(known) else np.full_like(found, -1)


def _num_found(positions: Positions) -> int:
    return int((positions >= 0).sum())
