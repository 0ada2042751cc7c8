"""What a trained network sees in the regions of the images that a detector learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.build.augmentation import eval_transforms
from detkit.data.batching import collate
from detkit.data.samples import DetectionDataset, Key
from detkit.data.sets import Source
from detkit.data.training_regions import TrainingRegions
from detkit.models.region_layers import Layer
from detkit.models.svm_decision import RidgeDeltas, SVMScores
from detkit.structures import ImageBatch
from detkit.workflows.session import Session

Floats = NDArray[np.float32]


class ReadsRegions(Protocol):
    """What R-CNN and SPP-net have in common for the stages that come after the network's training."""

    svms: SVMScores | None
    box_deltas: RidgeDeltas | None
    layer: Layer
    alike_count_once: bool

    @property
    def widths(self) -> dict[Layer, int]:
        """The layers there are, and the length of their vectors."""
        ...

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (r, D) pool5 and (r, D') vectors of the layer that decides, some regions at a time."""
        ...


@dataclass(frozen=True)
class RegionReader:
    """Runs the network over regions of one image at a time.

    Attributes:
        run: where.
        model: the detector, on the session's device.
        regions: the regions of each image.
        images: the images, as a test sees them, with these regions.
    """

    run: Session
    model: ReadsRegions
    regions: TrainingRegions
    images: DetectionDataset

    @staticmethod
    def of(run: Session, model: nn.Module, source: Source) -> RegionReader:
        """Return a reader of a dataset's regions."""
        regions = TrainingRegions.of(source)
        transforms = eval_transforms(run.config.data)
        images = DetectionDataset(regions.index, source.pixels, transforms, run.config.seed, regions)
        return RegionReader(run, cast(ReadsRegions, model), regions, images)

    def __call__(self, image: int, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[Floats, Floats]]:
        """Yield float32 pool5 and decisive vectors of an image's regions, some at a time.

        Args:
            image: index of the image.
            rows: which regions; None takes all.

        Raises:
            UserError: the image cannot be read.
        """
        device, precision = self.run.device, self.run.precision
        batch = collate([self.images[Key(0, image)]], seed=0).images.to(device)
        assert batch.proposals is not None
        boxes = batch.proposals[0]
        chosen = boxes if rows is None else boxes[torch.from_numpy(rows).to(device)]
        if len(chosen) == 0:
            return
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=precision, enabled=precision is not None),
        ):
            parts = self.model.read(batch, chosen)
            for pool5, vectors in self.run.threads.of("features").making(parts, len(chosen)):
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
