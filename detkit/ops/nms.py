"""Non-maximum suppression: of boxes that overlap, keep the best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from detkit.ops.boxes import pairwise_iou
from detkit.ops.kernels.nms_loops import decay_groups, keep_best, keep_best_of_groups, keep_uncovered

_AT_ONCE = 4096  # boxes whose overlaps are in memory together

Decay = Literal["linear", "gaussian"]
"""How soft-NMS lowers a score: by the IoU with a better box, or by a Gaussian of it."""


def nms(boxes: Tensor, scores: Tensor, iou: float, at_most: int | None = None) -> Tensor:
    """Return the boxes that no better one overlaps by more than `iou`, best first.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        scores: (N,) scores.
        iou: a box is dropped when its IoU with a kept better one is greater than this.
        at_most: how many are wanted; the rest is not looked at.

    Returns:
        (kept,) int64 positions in decreasing order of score; of equal scores the lower position first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5)
        tensor([1, 2])
    """
    if boxes.device.type != "cpu":
        return _standard(boxes.float(), scores.float(), iou)[:at_most]
    order = scores.float().sort(descending=True, stable=True).indices
    room = len(boxes) if at_most is None else min(at_most, len(boxes))
    kept = np.empty(room, np.int64)
    num = keep_best(
        boxes.detach().float()[order].numpy(), _rounded_down(iou), np.empty((5, room), np.float32), kept
    )
    return order[torch.from_numpy(kept[:num])]


def nms_by_own_area(boxes: Tensor, scores: Tensor, share: float) -> Tensor:
    """Return the boxes that no better one covers by more than a share of their own area, best first.

    Unlike with `nms`, a small box inside a better one goes, and a large one around it stays.

    Args:
        boxes: (N, 4) float64 corner boxes in pixels.
        scores: (N,) scores.
        share: a box is dropped when a kept better one covers more of it than this.

    Returns:
        (kept,) int64 positions in decreasing order of score; of equal scores the higher position first, as in
        the authors' deformable part models.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [2.0, 2.0, 6.0, 6.0]]).double()
        >>> nms_by_own_area(boxes, torch.tensor([0.9, 0.5]), 0.5)
        tensor([0])
        >>> nms_by_own_area(boxes, torch.tensor([0.5, 0.9]), 0.5)
        tensor([1, 0])
    """
    order = scores.cpu().sort(stable=True).indices.flip(0)
    kept = np.empty(len(boxes), np.int64)
    num = keep_uncovered(boxes.detach().double().cpu()[order].numpy(), share, kept)
    return order[torch.from_numpy(kept[:num])].to(boxes.device)


def grouped_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, at_most: int | None = None
) -> Tensor:
    """Return what `nms` keeps of each group alone (a class, a feature map), best first over all.

    Each group is suppressed by itself: moving groups apart and running once, the usual trick, rounds the
    coordinates of large groups. On CUDA, where many small calls would cost more, it is done in float64,
    which holds them.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        scores: (N,) scores.
        groups: (N,) integers; boxes of different groups never suppress one another.
        iou: see `nms`.
        at_most: how many are wanted, over all groups.

    Returns:
        (kept,) int64 positions in decreasing order of score; of equal scores the lower position first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(3, 1)
        >>> grouped_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
        tensor([1, 2])
    """
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    if boxes.device.type == "cuda":
        return _moved_apart(boxes, scores, groups, iou)[:at_most]
    kept = _loop_over_groups(boxes, scores, groups, iou, at_most).sort().values
    return kept[scores[kept].sort(descending=True, stable=True).indices[:at_most]]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    decay: Decay,
    *,
    iou: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of boxes that overlap a better one of their group, instead of dropping them.

    The best box is taken, the scores of all others are lowered by their IoU with it, and so on. It is done on
    the CPU.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        scores: (N,) scores.
        groups: (N,) integers; boxes of different groups never lower one another.
        decay: `linear` multiplies a score by 1 - IoU where that is greater than `iou`, `gaussian` by
            exp(-IoU^2 / sigma).
        iou: see `linear`.
        sigma: see `gaussian`.
        min_score: a box is dropped when its score falls below this.

    Returns:
        (kept,) int64 positions in decreasing order of their new scores, of equal ones the lower position
        first, and these (kept,) scores.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [20.0, 0.0, 30.0, 10.0]])
        >>> soft_nms(boxes, torch.tensor([0.9, 0.8, 0.5]), torch.zeros(3), "linear")
        (tensor([0, 2, 1]), tensor([0.9000, 0.5000, 0.4000]))

    Reference: Bodla, Singh, Chellappa and Davis, Soft-NMS, ICCV 2017.
    """
    order = groups.argsort(stable=True)
    ends = torch.unique_consecutive(groups[order], return_counts=True)[1].cumsum(0)
    lowered = scores.detach().float()[order].cpu().numpy().copy()
    kept = np.empty(len(boxes), np.int64)
    gaussian = float(sigma) if decay == "gaussian" else 0.0
    sorted_boxes = boxes.detach().float()[order].cpu().numpy()
    num = decay_groups(
        sorted_boxes, lowered, ends.cpu().numpy(), float(iou), gaussian, float(min_score), kept
    )
    places = torch.from_numpy(kept[:num])
    found, left = order[places.to(order.device)], torch.from_numpy(lowered)[places].to(scores)
    by_place = found.argsort()
    best_first = by_place[left[by_place].sort(descending=True, stable=True).indices]
    return found[best_first], left[best_first]


def suppressors(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    kept: Tensor,
    iou: float,
    overlap: Callable[[Tensor, Tensor], Tensor] = pairwise_iou,
) -> Tensor:
    """Return what each box was dropped for by `grouped_nms`: the best kept one of its group that overlaps it.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        scores: (N,) scores.
        groups: (N,) integers.
        kept: what `grouped_nms` keeps of all, without a limit.
        iou: see `nms`.
        overlap: of (N, 4) boxes with (M, 4) kept ones.

    Returns:
        (N,) int64 places; -1 for those that are kept, and where no kept one overlaps by more than `iou`.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]])
        >>> scores, groups = torch.tensor([0.5, 0.9, 0.7]), torch.zeros(3)
        >>> suppressors(boxes, scores, groups, grouped_nms(boxes, scores, groups, 0.5), 0.5)
        tensor([ 1, -1, -1])
    """
    by = torch.full((len(boxes),), -1, dtype=torch.int64, device=boxes.device)
    dropped = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    dropped[kept] = False
    for group in torch.unique(groups[dropped]):
        gone = torch.nonzero(dropped & (groups == group)).flatten()
        own = kept[groups[kept] == group]
        if not len(own):
            continue
        for some in torch.split(gone, _AT_ONCE):
            covers = (overlap(boxes[some], boxes[own]) > iou) & (scores[own] >= scores[some, None])
            first = covers.to(torch.uint8).argmax(dim=1)  # they are in the order of their scores
            by[some] = torch.where(covers.any(dim=1), own[first], -1)
    return by


def _loop_over_groups(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, at_most: int | None
) -> Tensor:
    """Return what `nms` keeps of each group, one group after another."""
    best_first = scores.float().sort(descending=True, stable=True).indices
    order = best_first[groups[best_first].argsort(stable=True)]
    ends = torch.unique_consecutive(groups[order], return_counts=True)[1].cumsum(0)
    if boxes.device.type != "cpu":
        members = torch.tensor_split(order, ends.tolist()[:-1])
        return torch.cat([rows[nms(boxes[rows], scores[rows], iou, at_most)] for rows in members])
    room = len(boxes)
    kept = np.empty(room, np.int64)
    sorted_boxes = boxes.detach().float()[order].numpy()
    sides = np.empty((5, room if at_most is None else min(at_most, room)), np.float32)
    num = keep_best_of_groups(sorted_boxes, ends.numpy(), _rounded_down(iou), sides, kept)
    return order[torch.from_numpy(kept[:num])]


def _moved_apart(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Suppress all groups in one call, each moved to a place of its own."""
    exact = boxes.double()
    span = exact.max() - exact.min() + 1
    return _standard(exact + (groups * span)[:, None], scores.double(), iou)


def _standard(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    from torchvision.ops import nms  # brings torch's compiler along, for which nobody on a CPU should wait

    keep: Tensor = nms(boxes, scores, iou)
    return keep


def _rounded_down(value: float) -> Any:
    """Return the greatest float32 that is not above `value`: a float32 exceeds one when it does the other."""
    near = np.float32(value)
    return np.nextafter(near, np.float32(-np.inf)) if near > value else near
