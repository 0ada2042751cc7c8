"""A detector as a function of tensors alone, which can be exported, and such a function as a detector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from detkit.capabilities import DetectsPadded
from detkit.models.norm import keep_folds
from detkit.structures import Detections, ImageBatch, PaddedBatch

IMAGES = ("images", "sizes", "originals")
PROPOSALS = ("proposals", "num_proposals")
OUTPUTS = ("boxes", "scores", "labels", "num_detections", "keypoints")

Arrays = Mapping[str, NDArray[Any]]
Call = Callable[[Arrays], Sequence[NDArray[Any]]]

_OPEN = {"images": {2: "height", 3: "width"}, "proposals": {1: "regions"}}
_SIZE = 203, 250  # of the images that a graph is traced with; no number that a layer would divide


class Graph(nn.Module):
    """A detector that takes tensors and gives tensors.

    Frozen norms are folded into their convolutions for good.

    Args:
        model: the detector, in evaluation mode.
        is_given: whether it is given proposals.
        is_normalised: whether images come as normalised float32 instead of uint8.

    Attributes:
        inputs: names of what it takes.
        axes: names of the open dimensions of each input.
        outputs: names of what it gives.
    """

    def __init__(self, model: nn.Module, *, is_given: bool, is_normalised: bool) -> None:
        super().__init__()
        self.model, self.is_normalised = model.requires_grad_(False), is_normalised
        self.inputs = IMAGES + (PROPOSALS if is_given else ())
        self.axes = {name: {0: "batch", **_OPEN.get(name, {})} for name in self.inputs}
        keep_folds(model)
        with torch.no_grad():
            self.outputs = OUTPUTS[: len(self(*self.example()))]

    def forward(
        self,
        images: Tensor,
        sizes: Tensor,
        originals: Tensor,
        proposals: Tensor | None = None,
        num_proposals: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the detections of a batch: see `PaddedBatch` and `PaddedDetections`."""
        batch = PaddedBatch(images, sizes, originals, proposals, num_proposals)
        found = cast(DetectsPadded, self.model).detect_padded(batch)
        points = () if found.keypoints is None else (found.keypoints,)
        return found.boxes, found.scores, found.labels, found.counts, *points

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of two images, as the graph is traced with."""
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (2, 3, *_SIZE), generator=draw, dtype=torch.uint8)
        sizes = torch.tensor([_SIZE, (_SIZE[0] - 30, _SIZE[1] - 9)])
        box = torch.tensor([[9.0, 5.0, 90.0, 70.0], [30.0, 40.0, 140.0, 120.0], [0.0, 0.0, 240.0, 170.0]])
        given = (box.repeat(2, 1, 1), torch.tensor([3, 2])) if len(self.inputs) > len(IMAGES) else ()
        return (images.float() / 128 - 1 if self.is_normalised else images, sizes, 2 * sizes, *given)

    def exported(self) -> ExportedProgram:
        """Return the graph by `torch.export`, for any number and size of images."""
        dims = {"batch": Dim("batch", max=1 << 12), "regions": Dim("regions", max=1 << 20)}
        # Of height and width, the least that a network's layers leave anything of.
        shapes = {
            name: {place: dims.get(axis, Dim.AUTO) for place, axis in axes.items()}
            for name, axes in self.axes.items()
        }
        # The warnings are torch's own, of what it is about to change.
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(self, self.example(), dynamic_shapes=shapes, strict=False)


class GraphDetector(nn.Module):
    """A detector in another format, as detkit's own are called.

    Args:
        call: takes arrays by the names of a graph's inputs and gives its outputs, in their order.
        takes_proposals: whether proposals are among the inputs.
    """

    def __init__(self, call: Call, *, takes_proposals: bool) -> None:
        super().__init__()
        self.call, self.takes_proposals = call, takes_proposals

    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file."""
        boxes, scores, labels, counts, *points = map(torch.from_numpy, self.call(self.arrays(images)))
        return [
            Detections(
                boxes[row, :number],
                scores[row, :number],
                labels[row, :number],
                keypoints=points[0][row, :number] if points else None,
            )
            for row, number in enumerate(counts.tolist())
        ]

    def arrays(self, images: ImageBatch) -> Arrays:
        """Return a batch as arrays by the names of a graph's inputs."""
        pixels = images.pixels.contiguous().numpy()
        sides = (np.array(each, np.int64) for each in (images.sizes, images.originals))
        arrays: dict[str, NDArray[Any]] = dict(zip(IMAGES, (pixels, *sides), strict=True))
        if self.takes_proposals:
            assert images.proposals is not None
            counts = [len(own) for own in images.proposals]
            given = torch.zeros(len(counts), max(1, *counts), 4)
            for place, own in zip(given, images.proposals, strict=True):
                place[: len(own)] = own
            arrays |= {"proposals": given.numpy(), "num_proposals": np.array(counts, np.int64)}
        return arrays
