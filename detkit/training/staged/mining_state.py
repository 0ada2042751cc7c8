"""How far a mining of hard negatives came: the negatives and the planes, in memory and on the disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from detkit.errors import UserError
from detkit.storage.atomic import durable_file

_FIRST = 4096  # rows that are made room for at first; then half as many again each time
_SPARSE = 0.5  # the rows move together once so large a share of them is of no class


class NegativeCache:
    """Negatives of K classes, in the order in which they came; a box that is one of several is kept once.

    Args:
        features: (n, D) float32 of the first ones.
        of: (n, K) bool of which classes each is a negative. Both are taken over, and grow in place.
    """

    def __init__(self, features: NDArray[np.float32], of: NDArray[np.bool_]) -> None:
        self._features, self._of, self._size = features, of, len(features)
        self._digests: NDArray[np.uint64] | None = None  # of the rows, once they are asked for

    @property
    def content(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Views of all there is: (n, D) features, and (n, K) of which classes each is a negative."""
        return self._features[: self._size], self._of[: self._size]

    def negatives(self, label: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the rows where the negatives of a class are, and a copy of their (n, D) features."""
        rows = np.flatnonzero(self._of[: self._size, label])
        return rows, self._features[rows]

    def add(self, features: NDArray[np.float32], of: NDArray[np.bool_]) -> None:
        """Add (n, D) features of boxes, and (n, K) of which classes each is a negative."""
        start, end = self._size, self._size + len(features)
        if end > len(self._of):
            room = max(end, _FIRST, len(self._of) * 3 // 2)
            for array in (self._features, self._of):
                # In place where the system can: a copy would take twice the memory at the worst moment.
                array.resize((room, array.shape[1]), refcheck=False)
        self._features[start:end], self._of[start:end] = features, of
        self._size = end
        if self._digests is not None:
            self._digests = np.append(self._digests[:start], _digests(features))

    def holds(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return (n, K) of which classes boxes with the same (n, D) features are negatives already."""
        if self._digests is None:
            self._digests = _digests(self._features[: self._size])
        asked, of = _digests(features), self._of[: self._size]
        return np.stack([np.isin(asked, self._digests[of_class]) for of_class in of.T], axis=1)

    def remove(self, rows: NDArray[np.intp], label: int) -> None:
        """Say that some rows are no longer negatives of a class; their places may move."""
        self._of[rows, label] = False
        kept = np.flatnonzero(self._of[: self._size].any(axis=1))
        if len(kept) < (1 - _SPARSE) * self._size:
            _move_together(self._features, kept)
            _move_together(self._of, kept)
            self._size = len(kept)
            if self._digests is not None:
                self._digests = self._digests[kept]


def _digests(features: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return (n,) numbers that differ where rows of (n, D) features do."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in features]
    return np.frombuffer(b"".join(digests), np.uint64)


def _move_together(array: NDArray[Any], kept: NDArray[np.intp]) -> None:
    """Move the kept rows to the front, block by block; none moves behind where it was."""
    for start in range(0, len(kept), _FIRST):
        block = kept[start : start + _FIRST]
        array[start : start + len(block)] = array[block]


@dataclass
class MiningState:
    """How far mining came; all of it is needed to go on.

    Attributes:
        cache: the hard negatives.
        weights: (K, D) planes; those of a class that was not fitted are 0.
        bias: (K,) their biases.
        trained: (K,) bool whether a class has been fitted at all.
        added: (K,) hard negatives since a class was fitted last.
        done: images gone through.
    """

    cache: NegativeCache
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    trained: NDArray[np.bool_]
    added: NDArray[np.int64]
    done: int = 0

    @staticmethod
    def begin(num_features: int, num_classes: int) -> MiningState:
        """Return the state before the first image."""
        return MiningState(
            NegativeCache(np.empty((0, num_features), np.float32), np.empty((0, num_classes), np.bool_)),
            np.zeros((num_classes, num_features), np.float32),
            np.zeros(num_classes, np.float32),
            np.zeros(num_classes, np.bool_),
            np.zeros(num_classes, np.int64),
        )


def save_mining(file: Path, state: MiningState) -> None:
    """Write how far a mining came, after an image; what was there stays until the new one is complete."""
    features, of = state.cache.content
    arrays = {
        "cache.features": features,
        "cache.of": of,
        "weights": state.weights,
        "bias": state.bias,
        "trained": state.trained,
        "added": state.added,
        "done": np.array([state.done]),
    }
    with durable_file(file) as part:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)


def load_mining(file: Path) -> MiningState:
    """Return what `save_mining` wrote.

    Raises:
        UserError: the file is damaged or something else.
    """
    try:
        # Arrays of a file can neither be changed nor grow, so they are copied.
        arrays = {name: np.array(array) for name, array in load_file(file).items()}
        return MiningState(
            NegativeCache(arrays["cache.features"], arrays["cache.of"]),
            arrays["weights"],
            arrays["bias"],
            arrays["trained"],
            arrays["added"],
            int(arrays["done"][0]),
        )
    except (SafetensorError, KeyError, OSError, ValueError, IndexError) as error:
        raise UserError(
            f"{file}: is not a mining that can go on ({error}); delete it to begin anew"
        ) from None
