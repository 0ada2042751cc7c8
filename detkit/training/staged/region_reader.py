"""Features of the regions of training images, as a trained network gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.capabilities import ReadsRegions
from detkit.data.datasets.source import Source
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.transforms.geometric import Transform
from detkit.runtime.session import Session

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RegionReader:
    """Runs the network over regions of one image at a time.

    Attributes:
        session: where.
        model: the detector, on the session's device.
        regions: the regions of each image.
        images: the images, as a test sees them, with these regions.
    """

    session: Session
    model: ReadsRegions
    regions: TrainingRegions
    images: DetectionDataset

    @staticmethod
    def of(
        session: Session, model: nn.Module, source: Source, transforms: Sequence[Transform]
    ) -> RegionReader:
        """Return a reader of a dataset's regions.

        Args:
            session: where the network runs.
            model: a detector with the capability `ReadsRegions`.
            source: the images, with proposals.
            transforms: what every image goes through in a test.
        """
        regions = TrainingRegions.of(source)
        images = DetectionDataset(regions.index, source.pixels, transforms, 0, regions)
        return RegionReader(session, cast(ReadsRegions, model), regions, images)

    def __call__(self, image: int, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[Floats, Floats]]:
        """Yield float32 pool5 and decisive vectors of an image's regions, some at a time.

        Args:
            image: index of the image.
            rows: which regions; None takes all.

        Raises:
            UserError: the image cannot be read.
        """
        device = self.session.device
        batch = collate([self.images[Key(0, image)]], seed=0).images.to(device)
        assert batch.proposals is not None
        boxes = batch.proposals[0]
        chosen = boxes if rows is None else boxes[torch.from_numpy(rows).to(device)]
        if len(chosen) == 0:
            return
        with torch.inference_mode(), self.session.autocast():
            parts = self.model.read(batch, chosen)
            for pool5, vectors in self.session.threads.of("features").making(parts, len(chosen)):
                yield pool5.float().cpu().numpy(), vectors.float().cpu().numpy()

    def together(self, image: int, rows: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
        """Return float32 pool5 and decisive vectors of an image's regions at once."""
        read = list(self(image, rows))
        if not read:
            widths = self.model.widths
            empty = np.zeros((0, widths["pool5"]), np.float32)
            return empty, np.zeros((0, widths[self.model.layer]), np.float32)
        pool5, vectors = zip(*read, strict=True)
        return np.concatenate(pool5), np.concatenate(vectors)
