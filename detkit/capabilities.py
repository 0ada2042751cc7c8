"""What every detector that is trained by gradient can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from detkit.structures import Detections, ImageBatch, TrainBatch


class Detector(Protocol):
    """A module with two ways to be called; nothing either returns depends on `training`."""

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name, each a scalar."""
        ...

    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file."""
        ...
