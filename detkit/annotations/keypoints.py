"""Key points of objects: their names, what a mirror does to them, and how COCO's files hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Keypoints = NDArray[np.float64]
"""(M, P, 3) x, y and visibility: 0 is not labelled, 1 labelled but hidden, 2 visible."""

_SIDES = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class KeypointLayout:
    """The P key points that the objects of a dataset may have.

    Attributes:
        names: P names.
        skeleton: pairs of places among them that a line joins.
    """

    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...] = ()

    @property
    def mirrored(self) -> tuple[int, ...]:
        """For each point the place of the one that it becomes in a mirror: left and right change places.

        Example:
            >>> KeypointLayout(("nose", "left_eye", "right_eye", "left_ear")).mirrored
            (0, 2, 1, 3)
        """
        places = {name: place for place, name in enumerate(self.names)}
        return tuple(places.get(other_side(name), place) for place, name in enumerate(self.names))


def other_side(name: str) -> str:
    """Return the name of a point on the other side: left instead of right, and the reverse.

    Example:
        >>> other_side("left_eye"), other_side("nose"), other_side("Right Hip")
        ('right_eye', 'nose', 'left Hip')
    """
    return re.sub("left|right", lambda found: _SIDES[found[0].lower()], name, flags=re.IGNORECASE)


def num_labelled(keypoints: Keypoints) -> NDArray[np.int64]:
    """Return the (M,) number of labelled points of each object, COCO's `num_keypoints`.

    Example:
        >>> num_labelled(np.array([[[3.0, 4.0, 2.0], [0.0, 0.0, 0.0]]]))
        array([1])
    """
    number: NDArray[np.int64] = np.count_nonzero(keypoints[:, :, 2] > 0, axis=1)
    return number
