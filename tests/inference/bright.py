"""A stand-in for a detector: it finds the one bright rectangle of each colour channel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.data.transforms.resize import Resize
from detkit.inference.predictor import Predictor
from detkit.runtime.session import Session
from detkit.structures import Detections, ImageBatch

CLASSES = ("red", "green", "blue")


class BrightDetector(nn.Module):
    """Scores are the channel's brightness; `batches` keeps the shape of everything it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, ...]] = []

    def detect(self, images: ImageBatch) -> list[Detections]:
        self.batches.append(tuple(images.pixels.shape))
        return [
            self._one(images.pixels[i, :, :h, :w], images.originals[i])
            for i, (h, w) in enumerate(images.sizes)
        ]

    @staticmethod
    def _one(pixels: torch.Tensor, original: tuple[int, int]) -> Detections:
        boxes, scores, labels = [], [], []
        factor = [original[1] / pixels.shape[2], original[0] / pixels.shape[1]] * 2
        for channel in range(3):
            rows, columns = (pixels[channel] > 127).nonzero(as_tuple=True)
            if len(rows):
                corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes.append([float(c) * f for c, f in zip(corners, factor, strict=True)])
                scores.append(float(pixels[channel].max()) / 255)
                labels.append(channel)
        found = Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels))
        order = found.scores.argsort(descending=True)
        return Detections(found.boxes[order], found.scores[order], found.labels.long()[order])


def predictor(short_px: int = 40, long_px: int = 400) -> Predictor:
    return Predictor(
        BrightDetector().eval(),
        CLASSES,
        (7, 3, 90),
        Resize((short_px,), long_px),
        Session(torch.device("cpu")),
    )


def picture(height: int, width: int, *boxes: tuple[int, int, int, int, int, int]) -> NDArray[np.uint8]:
    """Return black pixels with rectangles x1, y1, x2, y2, channel, brightness."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for x1, y1, x2, y2, channel, brightness in boxes:
        pixels[y1:y2, x1:x2, channel] = brightness
    return pixels
