"""Where ids of a file stand among those of a dataset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def positions(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each id stands among the known ones, -1 for an unknown id.

    Args:
        ids: (D,).
        known: (N,) ids that differ.

    Example:
        >>> positions(np.array([7, 3, 5]), np.array([3, 7]))
        array([ 1,  0, -1])
    """
    if not len(known):
        return np.full(len(ids), -1)
    low, high = known.min(), known.max()
    if high - low > 4 * (len(ids) + len(known)):
        order = np.argsort(known)
        at = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
        return np.where(known[at] == ids, at, -1)
    table = np.full(high - low + 3, -1)  # ids below and above have a place of their own
    table[known - low + 1] = np.arange(len(known))
    found: NDArray[np.int64] = table[np.clip(ids, low - 1, high + 1) - low + 1]
    return found
