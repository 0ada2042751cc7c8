"""How the anchors or proposals of a config fit the objects of its dataset."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.annotations.dataset import AnnotationSet
from detkit.config.schema import Config
from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.data.transforms.geometric import resized
from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.detectors.where_to_look import external_proposals, told_where_to_look
from detkit.models.roi.roi_head import RoIHead
from detkit.models.rpn.rpn import RPN, RPNOutput
from detkit.ops.boxes import pairwise_iou
from detkit.proposals.builder import build_proposer
from detkit.proposals.config import ExternalProposalsConfig, ProposalFileConfig
from detkit.structures import Target

MOST_IMAGES = 300  # looked at for anchors
MOST_SEARCHED = 16  # for proposals that have to be found first, which takes a second or more for each
FAIR_IOU = 0.5
BUCKETS = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, float("inf"))}
"""Square roots of areas in pixels of the resized image, as COCO divides them."""


@dataclass
class Fit:
    """How anchors or proposals fit the objects of some images.

    Attributes:
        what: `anchors` or `proposals`.
        stride: pixels of a cell of the finest feature map.
        best: the best IoU of each object looked at.
        sides: (M, 2) width and height of these objects in pixels of the resized image.
        places: image and number within it of each object.
        positives: anchors or regions with an object that were drawn in each image.
        drawn: how many are drawn in an image at most.
    """

    what: str
    stride: int
    drawn: int
    best: list[float] = field(default_factory=list)
    sides: list[tuple[float, float]] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    positives: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "what": self.what,
            "images": len(self.positives),
            "objects": len(self.best),
            "stride_px": self.stride,
            "positives_per_image": float(np.mean(self.positives)) if self.positives else None,
            "best_iou": {name: self._bucket(name) for name in BUCKETS},
        }

    def rows_of(self, bucket: str) -> NDArray[np.int64]:
        """Return the rows of the objects of a size."""
        low, high = BUCKETS[bucket]
        sizes = np.sqrt(np.prod(np.asarray(self.sides).reshape(-1, 2), axis=1))
        return np.flatnonzero((sizes >= low) & (sizes < high))

    def _bucket(self, name: str) -> dict[str, float | int | None]:
        best = np.asarray(self.best)[self.rows_of(name)]
        mean = float(best.mean()) if len(best) else None
        share = float((best >= FAIR_IOU).mean()) if len(best) else None
        return {"objects": len(best), "mean": mean, "share_0.5": share}


def measure_fit(config: Config, learned: Source) -> Fit | None:
    """Lay the anchors or proposals of a config over its objects, as training would.

    All images are looked at, or a fixed sample of many, in the size that they have after the resize.

    Args:
        config: the detector and its data.
        learned: the images to learn from.

    Returns:
        None for detectors that have neither anchors nor regions.

    Raises:
        UserError: an image cannot be read.
    """
    model = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False)
    truth, index = learned.annotations, Index.of(learned.annotations)
    most = MOST_IMAGES
    if isinstance(model, FastRCNN):
        proposals = external_proposals(config.detector)
        assert proposals is not None
        learned = _told(proposals, config, learned)
        most = MOST_IMAGES if isinstance(proposals, ProposalFileConfig) else MOST_SEARCHED
        fit = Fit("proposals", 1, model.roi_head.sampler.num)
    elif isinstance(model, FasterRCNN):
        fit = Fit("anchors", min(model.rpn.strides), model.rpn.sampler.num)
    else:
        return None
    for image in sample_images(truth, most):
        target, scale, size = _resized(config, index, image)
        if isinstance(model, FasterRCNN):
            anchors, positives = _anchors(model.rpn, target, size)
        else:
            assert isinstance(model, FastRCNN)
            assert learned.proposals is not None
            anchors, positives = _regions(
                model.roi_head, target, torch.tensor(learned.proposals(image)) * scale
            )
        counted = ~(target.crowd | target.difficult)
        best = pairwise_iou(anchors, target.boxes).amax(0) if len(anchors) else torch.zeros(len(counted))
        fit.best += best[counted].tolist()
        fit.sides += [tuple(side) for side in (target.boxes[:, 2:] - target.boxes[:, :2])[counted].tolist()]
        fit.places += [(image, number) for number in torch.nonzero(counted).flatten().tolist()]
        fit.positives.append(positives)
    return fit


def sample_images(truth: AnnotationSet, most: int) -> list[int]:
    """Return at most so many images with objects, spread evenly over the set."""
    with_objects = np.flatnonzero(np.diff(truth.offsets) > 0)
    chosen = np.linspace(0, len(with_objects) - 1, min(most, len(with_objects))).round().astype(np.int64)
    return [int(image) for image in with_objects[chosen]]


def _told(proposals: ExternalProposalsConfig, config: Config, learned: Source) -> Source:
    """Return the dataset with proposals: those of a file, or found as they are asked for."""
    if isinstance(proposals, ProposalFileConfig):
        return told_where_to_look(config.detector, learned, "train")
    proposer = build_proposer(proposals)
    pixels = learned.pixels
    return replace(learned, proposals=lambda image: proposer(pixels(image)).boxes.astype(np.float32))


def _resized(config: Config, index: Index, image: int) -> tuple[Target, Tensor, tuple[int, int]]:
    """Return the objects of an image after the resize, the factors of x y x y, and the image's size."""
    height, width = index.size(image)
    resize = config.data.resize
    size = resized(height, width, resize.short_px, resize.long_px) if resize else (height, width)
    scale = torch.tensor([size[1] / width, size[0] / height] * 2)
    target = index.target(image)
    return replace(target, boxes=target.boxes * scale), scale, size


def _anchors(rpn: RPN, target: Target, size: tuple[int, int]) -> tuple[Tensor, int]:
    """Return the anchors that may train for an image, and how many of those drawn have an object."""
    shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in rpn.strides]
    anchors = rpn.grid(shapes, rpn.strides, torch.device("cpu"))
    inside = [torch.ones(1, len(level), dtype=torch.bool) for level in anchors]
    drawn = rpn.draw(RPNOutput([], [], anchors, inside), [target], [size], seed=0)[0]
    every = torch.cat(anchors)
    if rpn.border_px is not None:
        low, limit = -rpn.border_px, torch.tensor([size[1], size[0]]) + rpn.border_px
        every = every[(every[:, :2] >= low).all(1) & (every[:, 2:] <= limit).all(1)]
    return every, len(drawn.positives)


def _regions(head: RoIHead, target: Target, proposals: Tensor) -> tuple[Tensor, int]:
    drawn = head.draw(proposals, target, seed=0)
    return proposals, int((drawn.labels < head.num_classes).sum())
