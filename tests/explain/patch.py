"""A detector that looks at one patch of the image, so that it is known what an explanation has to show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.explain.subject import Output, Subject
from detkit.models.image_input import ImageInput
from detkit.structures import Detections, ImageBatch, RegionDecision

SIDE = 64
ROWS, COLUMNS = slice(32, 48), slice(8, 24)
BOX = torch.tensor([4.0, 28.0, 28.0, 52.0])


class Patch(ImageInput):
    """Finds one object, the surer the brighter a patch is."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.zeros(3, SIDE, SIDE)
        weight[:, ROWS, COLUMNS] = 0.002
        self.weight = nn.Parameter(weight)

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        logits = (self.prepare(images) * self.weight).sum((1, 2, 3))[:, None]
        return RegionDecision(logits, logits.sigmoid(), None)

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        scores = self.decide(images, []).scores
        return [Detections(BOX[None], score, torch.zeros(1, dtype=torch.int64)) for score in scores]


class Detects(nn.Module):
    """The same, asked for detections alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = Patch()

    def detect(self, images: ImageBatch) -> list[Detections]:
        return self.patch.detect(images)


def picture() -> ImageBatch:
    """Return noise, bright in the patch."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 100, (1, 3, SIDE, SIDE), generator=noise, dtype=torch.uint8)
    pixels[:, :, ROWS, COLUMNS] += 150
    return ImageBatch(pixels, ((SIDE, SIDE),), ((SIDE, SIDE),))


def patch_subject(model: nn.Module | None = None, output: Output = "class") -> Subject:
    return Subject((model or Patch()).eval(), picture(), BOX, 0, output)
