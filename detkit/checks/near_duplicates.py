"""Finds pictures that are the same but for how they were stored."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

SAME, SIMILAR = 0.06, 0.2
"""How far likenesses of the same picture, and of similar ones, may differ, as a share of their contrast."""

_WORDS = 5  # of 64 bits; two codes that differ in at most 4 bits share one
_MOST_ALIKE = 2000  # blank pictures all have one code: of a larger group only neighbours are compared
_LEAST_CONTRAST = 6.0  # grey levels; less is noise


def alike(likenesses: NDArray[np.uint8]) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of pictures that look alike, and how much they differ (0: not at all).

    A perceptual code (the signs of the differences of neighbours in a 9 x 8 picture) finds candidates, so
    that not every pair is looked at; the larger likeness decides. Storing a picture again, in another size or
    quality, is found; mirrored and cropped pictures are not.

    Args:
        likenesses: (N, S, S) grey pictures.
    """
    if len(likenesses) < 2:
        return
    codes = np.stack([_code(picture) for picture in likenesses])
    contrast = np.maximum([picture.std() for picture in likenesses], _LEAST_CONTRAST)
    for first, second in sorted(_candidates(codes)):
        apart = likenesses[first].astype(np.float32) - likenesses[second]
        difference = float(np.sqrt(np.mean(apart**2)))
        share = difference / float(min(contrast[first], contrast[second]))
        if share <= SIMILAR:
            yield first, second, share


def _code(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return 64 bits that survive another storing of the picture."""
    small = cv2.resize(picture, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.asarray(small[:, 1:] > small[:, :-1] + 1).ravel()


def _candidates(codes: NDArray[np.bool_]) -> set[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for word in np.array_split(np.arange(codes.shape[1]), _WORDS):
        keys = np.packbits(codes[:, word], axis=1)
        padded = np.zeros((len(keys), 8), dtype=np.uint8)
        padded[:, : keys.shape[1]] = keys
        values = padded.view(np.uint64).ravel()
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=values[order][0] + 1))
        for group in np.split(order, starts[1:]):
            pairs |= _near(codes, group)
    return pairs


def _near(codes: NDArray[np.bool_], group: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Return the pairs of a group whose codes differ in few bits."""
    pairs: set[tuple[int, int]] = set()
    wide = len(group) if len(group) <= _MOST_ALIKE else 2
    for at, first in enumerate(group[:-1].tolist()):
        others = group[at + 1 : at + wide]
        close = (codes[others] != codes[first]).sum(axis=1) < _WORDS
        pairs.update((min(first, int(o)), max(first, int(o))) for o in others[close])
    return pairs
