"""Rows by class and falling score, with ties in the order the official scorers give them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

DIGIT_BITS = 11  # six passes cover 64 bits, and one histogram of 2,048 counts fits the first-level cache
DIGITS = 1 << DIGIT_BITS
PASSES = 6
SHORT = 48  # below this many rows insertion beats clearing the histograms


@compiled
def stable_by_key(
    keys: NDArray[np.int64], num_keys: int, rows: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return `rows` by `keys[row]`, ties kept, and the (num_keys + 1,) starts of the keys' blocks."""
    starts = np.zeros(num_keys + 1, np.int64)
    for row in rows:
        starts[keys[row] + 1] += 1
    for key in range(num_keys):
        starts[key + 1] += starts[key]
    cursor = starts[:-1].copy()
    ordered = np.empty_like(rows)
    for row in rows:
        key = keys[row]
        ordered[cursor[key]] = row
        cursor[key] += 1
    return ordered, starts


@compiled
def objects_by_image(
    objects: NDArray[np.int32], images: NDArray[np.int64], num_images: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the (N,) start and stop of each image's objects in a list that is grouped by image."""
    starts, stops = np.zeros(num_images, np.int32), np.zeros(num_images, np.int32)
    for position in range(len(objects)):
        image = images[objects[position]]
        if stops[image] == 0:
            starts[image] = position
        stops[image] = position + 1
    return starts, stops


@compiled
def falling_keys(scores: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return integers that rise where the scores fall; -0.0 and 0.0 are equal."""
    keys = (scores + 0.0).view(np.uint64)
    sign = np.uint64(1) << np.uint64(63)
    for i in range(len(keys)):
        if not keys[i] & sign:
            keys[i] = ~(keys[i] | sign)
    return keys


@compiled
def insert_by_score(keys: NDArray[np.uint64], rows: NDArray[np.int32]) -> None:
    """Sort a short block in place, ties kept."""
    for i in range(1, len(rows)):
        key, row = keys[i], rows[i]
        j = i - 1
        while j >= 0 and keys[j] > key:
            keys[j + 1], rows[j + 1] = keys[j], rows[j]
            j -= 1
        keys[j + 1], rows[j + 1] = key, row


@compiled
def sort_by_score(all_keys: NDArray[np.uint64], rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return `rows` by rising `all_keys[row]`, ties kept: a radix sort that skips digits all rows share."""
    keys, rows = all_keys[rows], rows.copy()
    if len(rows) < SHORT:
        insert_by_score(keys, rows)
        return rows
    counts = np.zeros((PASSES, DIGITS), np.int32)
    mask = np.uint64(DIGITS - 1)
    for key in keys:
        for p in range(PASSES):
            counts[p, (key >> np.uint64(p * DIGIT_BITS)) & mask] += 1
    other_keys, other_rows = np.empty_like(keys), np.empty_like(rows)
    for p in range(PASSES):
        shift = np.uint64(p * DIGIT_BITS)
        count = counts[p]
        if count[(keys[0] >> shift) & mask] == len(rows):
            continue
        total = np.int32(0)
        for digit in range(DIGITS):
            here = count[digit]
            count[digit] = total
            total += here
        for i in range(len(rows)):
            digit = (keys[i] >> shift) & mask
            to = count[digit]
            count[digit] = to + 1
            other_keys[to], other_rows[to] = keys[i], rows[i]
        keys, other_keys, rows, other_rows = other_keys, keys, other_rows, rows
    return rows


def by_class(
    labels: NDArray[np.int32], num_classes: int, rows: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rows of each class one after another and the (K + 1,) starts of the classes' blocks.

    Args:
        labels: (N,) in [0, K).
        num_classes: K.
        rows: (N,) the order within a class; 0..N-1 by default.

    Example:
        >>> by_class(np.array([1, 0, 1], np.int32), 2)[0]
        array([1, 0, 2], dtype=int32)
    """
    if rows is None:
        rows = np.arange(len(labels), dtype=np.int32)
    return stable_by_key(labels.astype(np.int64), num_classes, rows)
