"""The hard negatives of several classes, where a box that is one of several is kept once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_FIRST = 4096  # rows that are made room for at first; then half as many again each time
_SPARSE = 0.5  # the rows move together once so large a share of them is of no class


class NegativeCache:
    """Features of boxes that are negatives of K classes, in the order in which they came.

    Args:
        num_features: D.
        num_classes: K.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        self._size = 0
        self._features = np.empty((0, num_features), np.float32)
        self._of = np.empty((0, num_classes), np.bool_)
        self._images = np.empty(0, np.int64)
        self._keys = np.empty(0, np.int64)

    def rows(self, label: int) -> NDArray[np.intp]:
        """Return where the negatives of a class are."""
        return np.flatnonzero(self._of[: self._size, label])

    def features(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return a copy of the (n, D) features of some rows."""
        taken: NDArray[np.float32] = self._features[rows]
        return taken

    def known(self, image: int, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N, K) whether the boxes of an image with these keys are negatives of each class."""
        known = np.zeros((len(keys), self._of.shape[1]), np.bool_)
        own, rows, _ = self._of_image(image, keys)
        known[own] = self._of[rows]
        return known

    def add(
        self, image: int, keys: NDArray[np.int64], features: NDArray[np.float32], of: NDArray[np.bool_]
    ) -> None:
        """Add boxes of an image.

        Args:
            image: their image.
            keys: (n,) what tells the boxes of an image apart.
            features: (n, D).
            of: (n, K) of which classes each is a negative.
        """
        own, rows, new = self._of_image(image, keys)
        self._of[rows] |= of[own]
        self._make_room(len(new))
        end = self._size + len(new)
        for kept, added in (
            (self._features, features),
            (self._of, of),
            (self._images, np.full(len(keys), image)),
            (self._keys, keys),
        ):
            kept[self._size : end] = added[new]
        self._size = end

    def remove(self, rows: NDArray[np.intp], label: int) -> None:
        """Say that some rows are no longer negatives of a class; their places may move."""
        self._of[rows, label] = False
        kept = np.flatnonzero(self._of[: self._size].any(axis=1))
        if len(kept) < (1 - _SPARSE) * self._size:
            for array in (self._features, self._of, self._images, self._keys):
                _move_together(array, kept)
            self._size = len(kept)

    def state(self) -> dict[str, Array]:
        """Return views of all there is, for a file."""
        size = self._size
        return {
            "features": self._features[:size],
            "of": self._of[:size],
            "images": self._images[:size],
            "keys": self._keys[:size],
        }

    def restore(self, state: dict[str, Array]) -> None:
        """Go on from what `state` returned; arrays of a file cannot grow, so they are copied."""
        self._features, self._of = np.array(state["features"]), np.array(state["of"])
        self._images, self._keys = np.array(state["images"]), np.array(state["keys"])
        self._size = len(self._keys)

    def _of_image(self, image: int, keys: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """Return the positions of keys that are here, their rows, and the positions of the others."""
        here = np.flatnonzero(self._images[: self._size] == image)
        _, own, rows = np.intersect1d(keys, self._keys[here], assume_unique=True, return_indices=True)
        return own, here[rows], np.setdiff1d(np.arange(len(keys)), own, assume_unique=True)

    def _make_room(self, count: int) -> None:
        wanted = self._size + count
        if wanted <= len(self._keys):
            return
        room = max(wanted, _FIRST, len(self._keys) * 3 // 2)
        for name in ("_features", "_of", "_images", "_keys"):
            old: Array = getattr(self, name)
            # In place where the system can: a copy would take twice the memory at the worst moment.
            old.resize((room, *old.shape[1:]), refcheck=False)


def _move_together(array: Array, kept: NDArray[np.intp]) -> None:
    """Move the kept rows to the front, block by block; none moves behind where it was."""
    for start in range(0, len(kept), _FIRST):
        block = kept[start : start + _FIRST]
        array[start : start + len(block)] = array[block]
