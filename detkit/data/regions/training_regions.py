"""Training regions of an image for R-CNN and SPP-net: its objects, then the proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.errors import UserError
from detkit.structures import Target


@dataclass(frozen=True)
class TrainingRegions:
    """Training boxes of N images: the objects, and behind them the proposals.

    Attributes:
        index: the objects.
        proposals: returns the (P, 4) float32 corner boxes of image i.
    """

    index: Index
    proposals: Callable[[int], NDArray[np.float32]]

    @staticmethod
    def of(source: Source) -> TrainingRegions:
        """Return the regions of a dataset.

        Raises:
            UserError: it has no proposals.
        """
        if source.proposals is None:
            raise UserError("detector.proposals: R-CNN is trained on proposals, and there are none")
        return TrainingRegions(Index.of(source.annotations), source.proposals)

    def __len__(self) -> int:
        return len(self.index)

    def __call__(self, image: int) -> NDArray[np.float32]:
        """Return the (R, 4) float32 corner boxes of an image, in pixels of its file."""
        boxes: NDArray[np.float32] = self.objects(image).boxes.numpy()
        return np.concatenate([boxes, self.proposals(image)])

    def objects(self, image: int) -> Target:
        """Return the training objects of an image; its first regions are these."""
        target = self.index.target(image)
        kept = ~(target.difficult | target.crowd)
        return replace(
            target,
            boxes=target.boxes[kept],
            labels=target.labels[kept],
            difficult=target.difficult[kept],
            crowd=target.crowd[kept],
        )

    def boxes(self, image: int) -> Tensor:
        """Return the regions as a tensor of their own."""
        return torch.from_numpy(self(image))

    def counts(self) -> NDArray[np.int64]:
        """Return the (N,) number of regions of each image."""
        return np.array([len(self(image)) for image in range(len(self))], dtype=np.int64)
