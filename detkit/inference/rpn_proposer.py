"""Region proposal networks as proposers of images of any size."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.capabilities import HasProposalNetwork
from detkit.data.loading.batching import collate
from detkit.data.transforms.geometric import Transform
from detkit.inference.predictor import samples_of
from detkit.proposals.proposals import Proposals, ranked
from detkit.runtime.session import Session


@dataclass(frozen=True)
class RPNProposer:
    """A proposer like selective search: a model that stops after the proposals of an image.

    Attributes:
        model: with a proposal network, on the session's device; it is put into evaluation mode.
        resize: the size rule it was trained with.
        session: where it runs.
        limits: how many boxes are kept before and after non-maximum suppression; None takes those that the
            model is tested with.
        max_boxes: keep the best so many of an image; None keeps all that the limits let through.
        alone: held while the model runs; images are prepared meanwhile.
    """

    model: HasProposalNetwork
    resize: Transform
    session: Session
    limits: Any = None
    max_boxes: int | None = None
    alone: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        cast(nn.Module, self.model).eval()

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Return the proposals of (H, W, 3) uint8 RGB pixels, in pixels of the image."""
        height, width = image.shape[:2]
        images = collate(samples_of(image, [self.resize]), seed=0).images
        with self.alone, torch.inference_mode(), self.session.autocast():
            batch = images.to(self.session.device)
            (boxes,) = self.model.propose(self.model.feature_maps(batch), batch.sizes, self.limits)
            found = boxes.float().cpu().numpy()
        new_height, new_width = images.sizes[0]
        scale = np.array([width / new_width, height / new_height] * 2, np.float32)
        inside = np.clip(found * scale, 0, np.array([width, height] * 2, np.float32))
        return ranked(inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]).best(self.max_boxes)
