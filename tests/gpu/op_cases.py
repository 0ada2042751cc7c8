"""Operations on given numbers, and what each must give: by another implementation, on the CPU.

A tolerance is what the arithmetic of float32 (24 bits, so 6e-8 of a number at each rounding) may make of the
two orders in which two devices sum, and of exponentials and logarithms that may be two units off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection._utils import Matcher

from detkit.models.response_norm import LocalResponseNorm, WithinChannelNorm
from detkit.ops.anchors import AnchorGrid
from detkit.ops.boxes import clip, is_large, pairwise_ioa, pairwise_iou
from detkit.ops.coding import BoxCoder
from detkit.ops.convolution import convolve
from detkit.ops.distance_transform import distance_transform
from detkit.ops.losses import smooth_l1
from detkit.ops.matching import match
from detkit.ops.nms import grouped_nms, nms
from detkit.ops.ordered_pool import adaptive_max_pool
from detkit.ops.roi_align import roi_align, roi_align_pyramid
from detkit.ops.roi_pool import roi_pool, rounded_edges
from detkit.ops.sampling import Sampler, mix_seed, random_priority
from detkit.ops.spatial_pyramid import spatial_pyramid_pool
from detkit.ops.warp import Cuts, plan_warp, warp
from tests.reference import spatial_pyramid as by_hand
from tests.reference.warp import crop

EPS = 2.0**-23
EXACT = (0.0, 0.0)
Outputs = tuple[Tensor, ...]
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True)
class Case:
    """An operation.

    Attributes:
        inputs: tensors on the CPU; floating ones after the first `num_learned` get no gradient.
        run: the operation, on whatever device they are.
        expected: what it must give of the inputs on the CPU.
        tolerance: relative and absolute.
        num_learned: of the first so many inputs the gradient is compared, too.
    """

    inputs: tuple[Tensor, ...]
    run: Callable[..., Outputs]
    expected: Callable[..., Outputs]
    tolerance: tuple[float, float] = EXACT
    num_learned: int = 0

    def check(self, device: torch.device) -> None:
        """Run on a device, and compare results and gradients with what is expected."""
        found = outputs_and_gradients(self.run, [value.to(device) for value in self.inputs], self.num_learned)
        wanted = outputs_and_gradients(self.expected, list(self.inputs), self.num_learned)
        assert len(found) == len(wanted)
        rtol, atol = self.tolerance
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine.device == device
            torch.testing.assert_close(mine.to("cpu"), theirs, rtol=rtol, atol=atol)


def outputs_and_gradients(run: Callable[..., Outputs], inputs: list[Tensor], num_learned: int) -> Outputs:
    """Return what an operation gives, and the gradients of its first inputs for a fixed one of its result."""
    learned = [value.detach().clone().requires_grad_() for value in inputs[:num_learned]]
    outputs = run(*learned, *inputs[num_learned:])
    if not learned:
        return outputs
    fixed = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(9))
    gradients = torch.autograd.grad(outputs[0], learned, fixed.to(outputs[0].device, outputs[0].dtype))
    return (*(each.detach() for each in outputs), *gradients)


def boxes(num: int, seed: int, side: float = 400.0) -> Tensor:
    """Return boxes of 4 pixels and more, in steps of 1/8 pixel, which float32 holds."""
    rng = np.random.default_rng(seed)
    begin, size = rng.uniform(0, side, (num, 2)), rng.uniform(4, side / 2, (num, 2))
    return torch.from_numpy(np.concatenate((begin, begin + size), axis=1) * 8).round().float() / 8


def maps(*shape: int, seed: int = 0, step: float = 0.0) -> Tensor:
    """Return random maps in channels-last format; rounded to `step`, so that maxima tie."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (values if step == 0 else (values / step).round() * step).contiguous(
        memory_format=torch.channels_last
    )


def scores(num: int, seed: int, ties: bool = False) -> Tensor:
    values = torch.rand(num, generator=torch.Generator().manual_seed(seed))
    return (values * 20).round() / 20 if ties else values


def coder(own: Tensor, others: Tensor, deltas: Tensor) -> Outputs:
    ours = BoxCoder(WEIGHTS)
    return ours.encode(own, others), ours.decode(deltas, others)


def coder_of_torchvision(own: Tensor, others: Tensor, deltas: Tensor) -> Outputs:
    theirs = TorchvisionCoder(WEIGHTS)
    return theirs.encode_single(own, others), theirs.decode_single(deltas, others)


def matched_by_torchvision(iou: Tensor) -> Outputs:
    return (Matcher(0.7, 0.3, allow_low_quality_matches=True)(iou.T),)


def drawn(matches: Tensor) -> Outputs:
    return (random_priority(len(matches), 7, matches.device), *Sampler(64, 0.25)(matches, seed=7))


def drawn_by_hand(matches: Tensor) -> Outputs:
    """The same hashes with Python's integers, which never overflow."""

    def hashed(position: int, key: int) -> int:
        value = position ^ (key & 0xFFFFFFFF)
        for factor in (0x7FEB352D, 0x21F0AAAD):
            value = ((value ^ (value >> 16)) * factor) & 0xFFFFFFFF
            value = value ^ (value >> 15) ^ (key >> 32)
        return value << 31 | position

    order = [hashed(position, mix_seed(7)) for position in range(len(matches))]
    fg, bg = (
        sorted((order[i], i) for i, own in enumerate(matches.tolist()) if test(own))
        for test in (lambda own: own >= 0, lambda own: own == -1)
    )
    chosen = [[i for _, i in fg[:16]], [i for _, i in bg[: 64 - min(16, len(fg))]]]
    return (torch.tensor(order), *map(torch.tensor, chosen))


def anchors(base: Tensor) -> Outputs:
    grid = AnchorGrid(((32.0,), (64.0,)), (0.5, 1.0, 2.0), "base", 0.5)
    return tuple(grid(((7, 9), (4, 5)), (8, 16), base.device))


def anchors_by_hand(base: Tensor) -> Outputs:
    levels = []
    for size, stride, rows, columns in ((32, 8, 7, 9), (64, 16, 4, 5)):
        cells = [((x + 0.5) * stride, (y + 0.5) * stride) for y in range(rows) for x in range(columns)]
        found = []
        for cx, cy in cells:
            for ratio in (0.5, 1.0, 2.0):
                width = round(16 / math.sqrt(ratio))
                w, h = width * size / 16, round(width * ratio) * size / 16
                found.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        levels.append(torch.tensor(found))
    return tuple(levels)


def losses_by_hand(prediction: Tensor, target: Tensor) -> Outputs:
    wrong_by = (prediction - target).abs()
    return (torch.where(wrong_by < 1 / 9, 4.5 * wrong_by**2, wrong_by - 1 / 18),)


def suppressed(own: Tensor, value: Tensor, groups: Tensor) -> Outputs:
    return (
        nms(own, value, 0.5),
        nms(own, value, 0.3, at_most=20),
        grouped_nms(own, value, groups, 0.5),
        grouped_nms(own, value, groups, 0.3, at_most=20),
    )


def suppressed_by_hand(own: Tensor, value: Tensor, groups: Tensor) -> Outputs:
    iou = torchvision.ops.box_iou(own.double(), own.double())
    for threshold in (0.3, 0.5):
        assert ((iou - threshold).abs() > 1e-6).all(), "two roundings could disagree"

    def kept(threshold: float, same: Tensor) -> list[int]:
        found: list[int] = []
        for row in sorted(range(len(own)), key=lambda i: (-float(value[i]), i)):
            if not any(bool(same[row, better]) and iou[row, better] > threshold for better in found):
                found.append(row)
        return found

    anyhow, alike = torch.ones(len(own), len(own)), groups[:, None] == groups
    lists = kept(0.5, anyhow), kept(0.3, anyhow)[:20], kept(0.5, alike), kept(0.3, alike)[:20]
    return tuple(map(torch.tensor, lists))


def regions(own: Tensor, image: Tensor) -> Tensor:
    return torch.cat((image[:, None].to(own), own), dim=1)


def align_all(features: Tensor, own: Tensor, image: Tensor) -> Outputs:
    kinds = ((2, True), (2, False), (0, True))
    return (torch.stack([roi_align(features, own, image, 1 / 8, 7, *kind) for kind in kinds]),)


def align_all_of_torchvision(features: Tensor, own: Tensor, image: Tensor) -> Outputs:
    given = regions(own, image)
    kinds = ((2, True), (2, False), (0, True))
    return (torch.stack([torchvision.ops.roi_align(features, given, 7, 1 / 8, *kind) for kind in kinds]),)


SCALES = (1 / 4, 1 / 8, 1 / 16)


def align_pyramid(p2: Tensor, p3: Tensor, p4: Tensor, own: Tensor, image: Tensor, level: Tensor) -> Outputs:
    return (roi_align_pyramid([p2, p3, p4], own, image, level, SCALES, 7, 2, False),)


def align_pyramid_of_torchvision(*given: Tensor) -> Outputs:
    *levels, own, image, level = given
    pooled = [
        torchvision.ops.roi_align(features, regions(own, image)[[row]], 7, SCALES[number], 2, False)
        for row, number in enumerate(level.tolist())
        for features in levels[number : number + 1]
    ]
    return (torch.cat(pooled),)


def pool_of_torchvision(features: Tensor, own: Tensor, image: Tensor) -> Outputs:
    return (torchvision.ops.roi_pool(features, regions(own, image), 7, 1 / 8),)


def edges_by_hand(own: Tensor) -> Outputs:
    places = (own.double() / 8).tolist()
    return (torch.tensor([[int(math.copysign(math.floor(abs(v) + 0.5), v)) for v in row] for row in places]),)


LEVELS = (6, 3, 2, 1)


def spatial_pyramid_by_hand(features: Tensor, own: Tensor, image: Tensor) -> Outputs:
    rows = []
    for box, number in zip(own.tolist(), image.tolist(), strict=True):
        channels = torch.tensor(
            [by_hand.spatial_pyramid(c, box, 8, list(LEVELS)) for c in features[number].tolist()]
        )
        parts = channels.split([level * level for level in LEVELS], dim=1)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return (torch.stack(rows)[:, :, None, None],)


IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
CROPPED = ((11, 9, 30, 20), (1, 9, 12, 30), (40, 5, 53, 30), (7, 8, 7, 8), (1, 1, 53, 37))
MEAN = (123.0, 116.5, 104.25)


def crops(table: Tensor) -> Outputs:
    places = np.array(CROPPED, np.float64) - np.array([1, 1, 0, 0])
    cuts = Cuts.in_image(plan_warp(places, IMAGE.shape[:2], 23, 2, square=False), IMAGE.shape[1])
    cuts.flipped[::2] = True
    there = table.device
    mean, std = torch.tensor(MEAN, device=there), torch.ones(3, device=there)
    return (warp(table, cuts.to(there), 23, mean, std).contiguous(),)


def crops_by_hand(table: Tensor) -> Outputs:
    found = [
        torch.from_numpy(crop(IMAGE, box, 23, 2, False, number % 2 == 0, MEAN).copy()).permute(2, 0, 1)
        for number, box in enumerate(CROPPED)
    ]
    return (torch.stack(found).float(),)


def convolved(stride: int, padding: int) -> Callable[..., Outputs]:
    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Outputs:
        return (convolve(x, weight, bias, (stride,) * 2, (padding,) * 2, (1, 1)),)

    return run


def convolved_exactly(stride: int, padding: int) -> Callable[..., Outputs]:
    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Outputs:
        return (F.conv2d(x.double(), weight.double(), bias.double(), stride, padding).float(),)

    return run


def normed_within_channels(x: Tensor) -> Outputs:
    square, (height, width) = F.pad(x * x, (1, 1, 1, 1)), x.shape[2:]
    total = sum(square[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
    return (x / (1 + 5e-5 / 9 * total) ** 0.75,)


def filters(channels_out: int, channels: int, size: int) -> Tensor:
    return maps(channels_out, channels, size, size, seed=3) / (size * math.sqrt(channels))


def one(function: Callable[..., Tensor], *rest: Any) -> Callable[..., Outputs]:
    return lambda *given: (function(*given, *rest),)


def transformed(scores: Tensor, deformations: Tensor) -> Outputs:
    return distance_transform(scores, deformations, 2)


def transformed_by_hand(scores: Tensor, deformations: Tensor) -> Outputs:
    """Try all places within two cells, the first columns and in these the first rows before others."""
    moves = [(dy, dx) for dx in range(2, -3, -1) for dy in range(2, -3, -1)]
    values = []
    for dy, dx in moves:
        cost = deformations @ torch.tensor([dx**2, dx, dy**2, dy]).float()
        source = F.pad(scores, (2, 2, 2, 2), value=-math.inf)[
            :, :, 2 - dy : 2 - dy + scores.shape[2], 2 - dx : 2 - dx + scores.shape[3]
        ]
        values.append(source - cost[:, None, None])
    best, chosen = torch.stack(values).max(0)
    dy, dx = torch.tensor(moves).T[..., chosen]
    rows, columns = torch.meshgrid(*map(torch.arange, scores.shape[2:]), indexing="ij")
    return best, rows - dy, columns - dx


def ioa_by_hand(own: Tensor, others: Tensor) -> Outputs:
    lower = torch.maximum(own[:, None, :2], others[:, :2])
    sides = (torch.minimum(own[:, None, 2:], others[:, 2:]) - lower).clamp(min=0)
    return (sides.prod(2) / (own[:, 2:] - own[:, :2]).prod(1)[:, None],)


OWN, OTHERS, IMAGES = boxes(60, 1), boxes(60, 2), torch.arange(60) % 2
CLOSE = boxes(150, 5, side=60)
GROUPS = torch.arange(150) % 4
ROWS = torch.arange(60)
MATCHES = torch.where(ROWS % 3 == 0, ROWS % 5, torch.where(ROWS % 7 == 0, -2, -1)).repeat(5)
SMALL = maps(2, 6, 30, 34)
MOVES = torch.tensor([[0.11, 0.03, 0.17, -0.02], [0.5, 0.0, 0.01, 0.3], [0.07, -0.05, 0.06, 0.0]])
ROUGH = maps(2, 6, 30, 34, step=0.5)  # many maxima tie
PIXELS = torch.from_numpy(IMAGE).view(-1, 3)
SUMS = (0.0, 64 * EPS * 20)  # gradients add up some 60 numbers of size 1 to 20 at a cell
BOXES_PX = (16 * EPS, 16 * EPS * 600)  # pixels up to 600, through a few roundings each

CASES = {
    "iou": Case((OWN, OTHERS), one(pairwise_iou), one(torchvision.ops.box_iou), (8 * EPS, 8 * EPS)),
    "ioa": Case((OWN, OTHERS), one(pairwise_ioa), ioa_by_hand, (8 * EPS, 8 * EPS)),
    "clip": Case((OWN,), one(clip, (200, 300)), one(torchvision.ops.clip_boxes_to_image, (200, 300))),
    "sides": Case(
        (OWN,), one(is_large, 90.0), lambda own: (((own[:, 2:] - own[:, :2]) >= 90).sum(1) == 2,)
    ),
    "coding": Case((OWN, OTHERS, maps(60, 4, 1, 1).flatten(1)), coder, coder_of_torchvision, BOXES_PX),
    "matching": Case(
        (torchvision.ops.box_iou(CLOSE, CLOSE[:9]),), one(match, 0.7, (0.0, 0.3), True),
        matched_by_torchvision,
    ),
    "sampling": Case((MATCHES,), drawn, drawn_by_hand),
    "anchors": Case((torch.zeros(1),), anchors, anchors_by_hand),
    "smooth_l1": Case(
        (maps(40, 4, 1, 1), maps(40, 4, 1, 1, seed=1)), one(smooth_l1, 1 / 9), losses_by_hand,
        (8 * EPS, 8 * EPS), num_learned=2,
    ),
    "nms": Case((CLOSE, scores(150, 6), GROUPS), suppressed, suppressed_by_hand),
    "nms_of_equal_scores": Case((CLOSE, scores(150, 6, ties=True), GROUPS), suppressed, suppressed_by_hand),
    "roi_align": Case(
        (SMALL, OWN / 2, IMAGES), align_all, align_all_of_torchvision, (0.0, 1e-4), num_learned=1
    ),
    "roi_align_pyramid": Case(
        (maps(2, 4, 64, 64), maps(2, 4, 32, 32), maps(2, 4, 16, 16), OWN / 2, IMAGES, ROWS % 3),
        align_pyramid, align_pyramid_of_torchvision, (0.0, 1e-4), num_learned=3,
    ),
    "roi_pool": Case(
        (ROUGH, OWN / 2, IMAGES), one(roi_pool, 1 / 8, 7), pool_of_torchvision, SUMS, num_learned=1
    ),
    "rounded_edges": Case(
        (torch.cat((OWN, -OWN, OWN.round() * 4)),), one(rounded_edges, 1 / 8), edges_by_hand
    ),
    "spatial_pyramid": Case(
        (ROUGH, OWN / 2, IMAGES), one(spatial_pyramid_pool, 1 / 8, LEVELS), spatial_pyramid_by_hand
    ),
    "warp": Case((PIXELS,), crops, crops_by_hand, (0.0, 2e-3)),
    "distance_transform": Case(
        (maps(2, 3, 9, 8), MOVES), transformed, transformed_by_hand, (8 * EPS, 64 * EPS),
        num_learned=2,
    ),
    "adaptive_max_pool": Case(
        (maps(3, 5, 15, 13, step=0.5),), one(adaptive_max_pool, 6), one(F.adaptive_max_pool2d, 6), SUMS,
        num_learned=1,
    ),
    "response_norm": Case(
        (SMALL * 30,), one(LocalResponseNorm(3, alpha=5e-5, beta=0.75)),
        one(F.local_response_norm, 3, 5e-5, 0.75), (64 * EPS, 64 * EPS * 30), num_learned=1,
    ),
    "within_channel_norm": Case(
        (SMALL * 30,), one(WithinChannelNorm(3, alpha=5e-5)), normed_within_channels,
        (64 * EPS, 64 * EPS * 30), num_learned=1,
    ),
    # Results have deviation 1, gradients of the weights up to 300; Winograd's method rounds to 1e-6 of it.
    "convolution_in_tiles": Case(
        (maps(1, 192, 40, 44), filters(192, 192, 3), torch.ones(192)), convolved(1, 1),
        convolved_exactly(1, 1), (1e-5, 2e-3), num_learned=3,
    ),
    "convolution_with_stride": Case(
        (maps(2, 64, 57, 61), filters(64, 64, 5), torch.ones(64)), convolved(2, 2), convolved_exactly(2, 2),
        (1e-5, 2e-3), num_learned=3,
    ),
    "convolution_of_images": Case(
        (maps(2, 3, 65, 60), filters(8, 3, 7), torch.ones(8)), convolved(2, 3), convolved_exactly(2, 3),
        (1e-5, 2e-3), num_learned=3,
    ),
}  # fmt: skip
