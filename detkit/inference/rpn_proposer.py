"""Proposals of a trained Faster R-CNN's proposal network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.data.config import ResizeConfig
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import Sample
from detkit.data.transforms.builder import resizing
from detkit.data.transforms.geometric import Transform, as_image
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.errors import UserError
from detkit.models.rpn.proposal_network import ProposalNetwork
from detkit.models.rpn.rpn import Limits
from detkit.proposals.proposals import Proposals, ranked
from detkit.runs.model import load_detector
from detkit.runtime.device import choose_device, predicting_precision
from detkit.structures import Target


@dataclass(frozen=True)
class RPNProposer:
    """Takes an image as `detkit predict` does and stops behind the proposal network.

    Attributes:
        model: in evaluation mode, on its device.
        resize: the size rule it was trained with.
        device: where the model is.
        precision: what autocast computes in; None is float32.
        limits: how many boxes are kept before and after non-maximum suppression.
        max_boxes: keep the best so many of an image; None keeps all that the limits let through.
        alone: held while the model runs; images are prepared meanwhile.
    """

    model: ProposalNetwork
    resize: Transform
    device: torch.device
    precision: torch.dtype | None
    limits: Limits
    max_boxes: int | None
    alone: Lock

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Return the proposals of (H, W, 3) uint8 RGB pixels, in pixels of the image."""
        nothing = Target.of(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
        height, width = image.shape[:2]
        resized, target = self.resize(as_image(image), nothing, np.random.default_rng(0))
        images = collate([Sample(resized, target, (height, width), 0)], seed=0).images
        with (
            self.alone,
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None),
        ):
            (boxes,) = self.model.propose(images.to(self.device), self.limits)
            found = boxes.float().cpu().numpy()
        new_height, new_width = images.sizes[0]
        scale = np.array([width / new_width, height / new_height] * 2, np.float32)
        inside = np.clip(found * scale, 0, np.array([width, height] * 2, np.float32))
        return ranked(inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]).best(self.max_boxes)


def proposer_of(
    model: FasterRCNN,
    resize: ResizeConfig | None,
    precision: torch.dtype | None,
    limits: Limits,
    max_boxes: int | None = None,
) -> RPNProposer:
    """Return the proposal network of a detector, ready for images of any size.

    Args:
        model: the detector, on its device; it is put into evaluation mode.
        resize: the size rule it was trained with; None leaves images as they are.
        precision: what autocast computes in; None is float32.
        limits: how many boxes are kept before and after non-maximum suppression.
        max_boxes: keep the best so many of an image; None keeps all that the limits let through.
    """
    device = model.mean.device
    network = ProposalNetwork(model.backbone, model.neck, model.rpn).to(device).eval()
    return RPNProposer(network, resizing(resize), device, precision, limits, max_boxes, Lock())


def build_rpn_proposer(weights: Path, max_boxes: int | None, device: str = "auto") -> RPNProposer:
    """Read a model file and return its proposal network, ready for images of any size.

    Args:
        weights: a model.safetensors.
        max_boxes: keep the best so many of an image; None keeps those that the model's head would get.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        UserError: the file cannot be read, its detector has no proposal network, or the device is not there.
    """
    place = choose_device(device)
    loaded = load_detector(weights, place)
    if not isinstance(loaded.model, FasterRCNN):
        raise UserError(
            f"{weights}: a {loaded.config.detector.type} has no proposal network; METHOD takes a faster_rcnn"
        )
    precision = predicting_precision(loaded.config.train.precision, place)
    limits = loaded.model.rpn.test_limits
    return proposer_of(loaded.model, loaded.config.data.resize, precision, limits, max_boxes)
