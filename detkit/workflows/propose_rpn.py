"""Proposals of a trained Faster R-CNN's proposal network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.build.model import load_detector
from detkit.data.batching import collate
from detkit.data.samples import Sample
from detkit.data.transforms import Resize, as_image
from detkit.detectors.faster_rcnn import FasterRCNN
from detkit.errors import UserError
from detkit.proposals.proposals import Proposals, ranked
from detkit.structures import Target
from detkit.training.device import choose_device, predicting_precision


@dataclass(frozen=True)
class RPNProposer:
    """Takes an image as `detkit predict` does and stops behind the proposal network.

    Attributes:
        model: in evaluation mode, on its device.
        resize: the size rule it was trained with.
        device: where the model is.
        precision: what autocast computes in; None is float32.
        max_boxes: keep the best so many of an image; None keeps those that the model's head would get.
        alone: held while the model runs; images are prepared meanwhile.
    """

    model: FasterRCNN
    resize: Resize
    device: torch.device
    precision: torch.dtype | None
    max_boxes: int | None
    alone: Lock

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Return the proposals of (H, W, 3) uint8 RGB pixels, in pixels of the image."""
        nothing = Target.of(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
        height, width = image.shape[:2]
        resized, target = self.resize(as_image(image), nothing, np.random.default_rng(0))
        images = collate([Sample(resized, target, (height, width), 0)], seed=0).images
        model, sizes = self.model, images.sizes
        with (
            self.alone,
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None),
        ):
            maps = model.neck(model.backbone(model.prepare(images.to(self.device))))
            (boxes,) = model.rpn.propose(model.rpn(maps, sizes), sizes, model.rpn.test_limits)
            found = boxes.float().cpu().numpy()
        scale = np.array([width / sizes[0][1], height / sizes[0][0]] * 2, np.float32)
        inside = np.clip(found * scale, 0, np.array([width, height] * 2, np.float32))
        return ranked(inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]).best(self.max_boxes)


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
    resize = loaded.config.data.resize
    return RPNProposer(
        loaded.model,
        Resize((resize.short_px,), resize.long_px),
        place,
        predicting_precision(loaded.config.train.precision, place),
        max_boxes,
        Lock(),
    )
