"""How far a detector in another format is from the one it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.capabilities import Detector
from detkit.data.loading.batching import collate
from detkit.data.transforms.geometric import Transform
from detkit.inference.predictor import samples_of
from detkit.proposals.proposals import Proposals
from detkit.structures import Detections, ImageBatch

# Shares of height and width that are cut out of the pictures, so that they come in five sizes.
_CUTS = ((1.0, 1.0), (1.0, 0.7), (0.6, 1.0), (0.8, 0.5), (0.5, 0.45))
_PARTNER_SHARE, _PARTNER_PX = (
    0.2,
    4.0,
)  # farther apart, in longer sides and pixels, two boxes are not the same
_EMPTY = 160, 213
_REGIONS = 60


@dataclass(frozen=True)
class Tolerance:
    """How far two detectors may be apart.

    Attributes:
        box_px: coordinates of the same detection, in pixels of the image.
        keypoint_px: coordinates of its key points, in pixels of the image.
        score: its score.
        alone: share of the detections that only one of the two has.
        map_drop: what may be lost of the metric.
    """

    box_px: float
    keypoint_px: float
    score: float
    alone: float
    map_drop: float


@dataclass(frozen=True)
class Difference:
    """How far two detectors are apart.

    Attributes:
        detections: of the first, over all images.
        alone: detections that only one of them has. One whose score is as good as the lowest of its image,
            or of all images where the other finds nothing in it, within the tolerance, is not counted: which
            of these are reported is chance.
        box_px: largest distance of a coordinate of the same detection, in pixels of the image.
        keypoint_px: the same of its key points, infinite where only one of the two has them; None where
            neither has.
        score: largest difference of its score.
        batches: (images, height, width) of each batch that both saw.
    """

    detections: int
    alone: int
    box_px: float
    keypoint_px: float | None
    score: float
    batches: tuple[tuple[int, int, int], ...]

    def is_within(self, limit: Tolerance) -> bool:
        """Tell whether the two are the same within a tolerance."""
        return (
            self.box_px <= limit.box_px
            and (self.keypoint_px or 0.0) <= limit.keypoint_px
            and self.score <= limit.score
            and self.alone <= limit.alone * max(self.detections, 1)
        )


def check_batches(
    pictures: Sequence[NDArray[np.uint8]], resize: Transform, *, is_given: bool
) -> Iterator[ImageBatch]:
    """Yield batches that a detector must stand: five sizes, one and two images, and an image of nothing.

    Args:
        pictures: (H, W, 3) uint8 RGB, at least one.
        resize: the model's size rule.
        is_given: whether the detector is given proposals; those here are drawn by chance, and of the empty
            image there are none.
    """
    cut = []
    for number, (down, across) in enumerate(_CUTS):
        pixels = pictures[number % len(pictures)]
        height, width = (
            max(1, round(side * share)) for side, share in zip(pixels.shape, (down, across), strict=False)
        )
        cut.append(pixels[:height, :width].copy())
    empty = np.full((*_EMPTY, 3), 127, np.uint8)
    each = [
        samples_of(pixels, (resize,), _some_regions if is_given else None)[0] for pixels in cut
    ] + samples_of(empty, (resize,), _no_regions if is_given else None)
    for group in [*([one] for one in each), each[:2], each[2:4], each[4:]]:
        yield collate(group, seed=0).images


def _some_regions(pixels: NDArray[np.uint8]) -> Proposals:
    sides = np.tile(pixels.shape[1::-1], 2)
    corners = np.random.default_rng(0).random((_REGIONS, 2, 2), np.float32)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1) * sides
    return Proposals(boxes.astype(np.float32), np.ones(_REGIONS, np.float32))


def _no_regions(_: NDArray[np.uint8]) -> Proposals:
    return Proposals(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@torch.no_grad()
def compare(
    ours: nn.Module, theirs: nn.Module, batches: Sequence[ImageBatch], limit: Tolerance
) -> Difference:
    """Return how far two detectors are apart on some images.

    Args:
        ours: the first.
        theirs: the second.
        batches: what both are to see.
        limit: the tolerance, which says what counts as chance.
    """
    pairs = [
        pair
        for batch in batches
        for pair in zip(*(cast(Detector, one).detect(batch) for one in (ours, theirs)), strict=True)
    ]
    floor = min((float(one.scores.min()) for pair in pairs for one in pair if len(one)), default=0.0)
    alone = 0
    box_px, keypoint_px, score = [0.0], list[float](), [0.0]
    for own, other in pairs:
        first, second = _pairs(own, other)
        box_px.append(_apart(own.boxes[first], other.boxes[second]))
        score.append(_apart(own.scores[first], other.scores[second]))
        if own.keypoints is not None and other.keypoints is not None:
            keypoint_px.append(_apart(own.keypoints[first], other.keypoints[second]))
        elif (own.keypoints is None) != (other.keypoints is None):
            keypoint_px.append(float("inf"))
        lowest = min(float(one.scores.min()) for one in (own, other)) if len(own) and len(other) else floor
        for one, paired in ((own, first), (other, second)):
            left = torch.ones(len(one), dtype=torch.bool).index_fill(0, paired, False)
            alone += int((left & ~(one.scores <= lowest + limit.score)).sum())
    sizes = tuple((len(batch), *batch.pixels.shape[2:]) for batch in batches)
    return Difference(
        sum(len(own) for own, _ in pairs),
        alone,
        max(box_px),
        max(keypoint_px, default=None),
        max(score),
        cast(tuple[tuple[int, int, int], ...], sizes),
    )


def _apart(own: Tensor, other: Tensor) -> float:
    """Return the largest difference of numbers in the same places; what is no number is infinitely far."""
    return float((own - other).abs().nan_to_num(nan=float("inf")).max()) if own.numel() else 0.0


def _pairs(own: Detections, other: Detections) -> tuple[Tensor, Tensor]:
    """Return the rows of detections that are the same, of either; the best of the first choose before others.

    Scores that differ in the last bit change places, so the order says nothing.
    """
    apart = torch.cdist(own.boxes.double(), other.boxes.double(), p=float("inf"))
    apart[own.labels[:, None] != other.labels] = float("inf")
    sides = (own.boxes[:, 2:] - own.boxes[:, :2]).amax(dim=1)
    farthest = (_PARTNER_SHARE * sides).clamp(min=_PARTNER_PX)
    rows, partners = list[int](), list[int]()
    for row in range(len(own) if len(other) else 0):
        distance, partner = apart[row].min(dim=0)
        if distance <= farthest[row]:
            rows.append(row)
            partners.append(int(partner))
            apart[:, partner] = float("inf")
    return torch.tensor(rows, dtype=torch.int64), torch.tensor(partners, dtype=torch.int64)
