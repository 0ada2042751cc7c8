"""Near duplicates: images that are there twice, stored again in another size or quality, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.data.images import Pixels, decode_bytes, decode_reduced

THUMBNAIL_PX = 32
SAME, SIMILAR = 0.06, 0.2
"""Largest difference of the thumbnails of the same image, and of similar ones, as a fraction of contrast."""

_WORDS = 5  # of 64 bits; two codes that differ in at most 4 bits share one
_MOST_ALIKE = 2000  # blank images all have one code: of a larger group only neighbours are compared
_LEAST_CONTRAST = 6.0  # grey levels; less is noise
_REDUCED_PX = 256  # short side that a large JPEG keeps; with less, thumbnails come out visibly different


def near_duplicates(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of near duplicates, and how much they differ (0: not at all).

    A perceptual code (the signs of the differences of neighbours in a 9 x 8 image) finds candidates, so
    that not every pair is compared; the larger thumbnail decides. An image stored again, in another size or
    quality, is found; mirrored and cropped ones are not.

    Args:
        thumbnails: (N, S, S) grey images.
    """
    if len(thumbnails) < 2:
        return
    codes = np.stack([_code(thumbnail) for thumbnail in thumbnails])
    for first, second in sorted(_candidates(codes)):
        fraction = difference(thumbnails[first], thumbnails[second])
        if fraction <= SIMILAR:
            yield first, second, fraction


def thumbnail_of(data: bytes, pixels: Pixels | None = None) -> NDArray[np.uint8]:
    """Return the (THUMBNAIL_PX, THUMBNAIL_PX) grey thumbnail of an image, large JPEGs being read reduced.

    Args:
        data: content of an image file.
        pixels: (H, W, 3), where they are known already. The thumbnail is the same with them and without.

    Raises:
        UserError: the data is not an image that can be read.
    """
    reduced = decode_reduced(data, _REDUCED_PX)
    if reduced is not None:
        return _shrunk(reduced)
    return np.asarray(
        cv2.cvtColor(_shrunk(decode_bytes(data) if pixels is None else pixels), cv2.COLOR_RGB2GRAY), np.uint8
    )


def _shrunk(pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return how much two thumbnails differ, as a fraction of the contrast of the flatter one.

    Example:
        >>> ramp = np.arange(0, 64, 2, dtype=np.uint8) * np.ones((32, 1), np.uint8)
        >>> difference(ramp, ramp), round(difference(ramp, ramp[:, ::-1]), 1)
        (0.0, 2.0)
    """
    contrast = max(min(float(one.std()), float(other.std())), _LEAST_CONTRAST)
    return float(np.sqrt(np.mean((one.astype(np.float32) - other) ** 2))) / contrast


def _code(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return 64 bits that survive another storing of the image."""
    small = cv2.resize(thumbnail, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
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
