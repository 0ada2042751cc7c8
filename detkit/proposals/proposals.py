"""Proposals of one image, and the interface of a proposal method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Proposals:
    """Boxes of one image that may hold an object, the most promising first.

    Attributes:
        boxes: (P, 4) float32 corner boxes in pixels of the image, continuous, inside it and with an area.
        scores: (P,) float32, falling. They rank the boxes of this image by this method; what a value
            means is the method's own.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, limit: int | None) -> Proposals:
        """Return the first `limit` boxes; None returns all."""
        return self if limit is None else Proposals(self.boxes[:limit], self.scores[:limit])

    @staticmethod
    def empty() -> Proposals:
        """Return no boxes."""
        return Proposals(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.float32))


Proposer = Callable[[NDArray[np.uint8]], Proposals]
"""Takes the (H, W, 3) uint8 RGB pixels of an image. It has no state that changes: threads share it."""


@runtime_checkable
class NamedProposer(Protocol):
    """A proposer that looks things up by an image's name; where there is one it is asked this way."""

    def propose_named(self, image: NDArray[np.uint8], name: str) -> Proposals:
        """Return the proposals of an (H, W, 3) image that has a name: its file, relative or not."""


def ranked(boxes: NDArray[np.float32]) -> Proposals:
    """Return boxes that only have an order, with scores that fall from 1 towards 0.

    Args:
        boxes: (P, 4) corner boxes in pixels, the most promising first.

    Example:
        >>> ranked(np.zeros((4, 4), dtype=np.float32)).scores
        array([1.  , 0.75, 0.5 , 0.25], dtype=float32)
    """
    count = len(boxes)
    return Proposals(boxes, (np.arange(count, 0, -1) / max(count, 1)).astype(np.float32))
