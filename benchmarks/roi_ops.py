"""RoIAlign and RoIPool on the CPU: detkit beside torchvision, interleaved, each in the layout it prefers.

Four settings: an FPN's four levels with 1,000 regions, the same in training with 512, the C4 wiring of
ResNet-18 in bfloat16 (256 regions of 14 x 14 from two images), and Fast R-CNN's RoIPool on 2,000
regions. torchvision's operators know no bfloat16 on the CPU and get float32, as autocast does.
Wall-clock seconds on all of PyTorch's threads; `--cpu` measures processor seconds on one, which other
work on the machine disturbs less.

    python benchmarks/roi_ops.py [--rounds 7] [--cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torchvision
from measuring.turns import Claim, Clock, claim_of, deliver, in_turns
from torch import Tensor

from detkit.ops.roi_align import roi_align
from detkit.ops.roi_pool import roi_pool

Operator = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Case:
    """One claim: the maps' strides and channels, regions on each map, the operators and what is done."""

    claim: str
    strides: tuple[int, ...]
    num_images: int
    channels: int
    regions: int
    sides_cells: tuple[float, float]
    ours: Operator
    peer: Operator
    backward: bool = False
    dtype: torch.dtype = torch.float32
    tolerance: float = 1e-4


def torchvision_align(size: int, features: Tensor, boxes: Tensor, image: Tensor, scale: float) -> Tensor:
    regions = torch.cat((image[:, None], boxes), dim=1)
    pooled = torchvision.ops.roi_align(features.float(), regions, size, scale, 2, True)
    return pooled.to(features.dtype)


def torchvision_pool(features: Tensor, boxes: Tensor, image: Tensor, scale: float) -> Tensor:
    return torchvision.ops.roi_pool(features, torch.cat((image[:, None], boxes), dim=1), 7, scale)


def detkit_align(size: int, features: Tensor, boxes: Tensor, image: Tensor, scale: float) -> Tensor:
    return roi_align(features, boxes, image, scale, size, 2, True)


def detkit_pool(features: Tensor, boxes: Tensor, image: Tensor, scale: float) -> Tensor:
    return roi_pool(features, boxes, image, scale, 7)


FPN = {"strides": (4, 8, 16, 32), "channels": 256, "sides_cells": (8.0, 28.0)}
ALIGN_7 = {"ours": partial(detkit_align, 7), "peer": partial(torchvision_align, 7)}
C4 = {
    "strides": (16,), "num_images": 2, "channels": 256, "regions": 256, "sides_cells": (2.0, 25.0),
    "ours": partial(detkit_align, 14), "peer": partial(torchvision_align, 14),
}  # fmt: skip
CASES = (
    Case("RoIAlign, FPN, 1000 regions, forward", num_images=1, regions=250, **FPN, **ALIGN_7),
    Case(
        "RoIAlign, FPN, 512 regions, forward and backward",
        num_images=1, regions=128, backward=True, **FPN, **ALIGN_7,
    ),
    Case("RoIAlign, C4, 256 regions, bfloat16, forward", dtype=torch.bfloat16, tolerance=0.02, **C4),
    Case(
        "RoIAlign, C4, 256 regions, bfloat16, forward and backward",
        backward=True, dtype=torch.bfloat16, tolerance=0.02, **C4,
    ),
    Case(
        "RoIPool, 2000 regions, 512 channels, forward",
        (16,), 1, 512, 2000, (2.0, 30.0), detkit_pool, torchvision_pool, tolerance=0.0,
    ),
    Case(
        "RoIPool, 128 regions, 512 channels, forward and backward",
        (16,), 2, 512, 128, (2.0, 30.0), detkit_pool, torchvision_pool, backward=True,
    ),
)  # fmt: skip


def make_inputs(case: Case) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """Return features (channels-last), boxes, image indices and scale of each map of an 800 x 600 image."""
    draw = torch.Generator().manual_seed(0)
    inputs = []
    for stride in case.strides:
        shape = (case.num_images, case.channels, -(-600 // stride), -(-800 // stride))
        features = torch.randn(shape, generator=draw).to(case.dtype)
        low, high = case.sides_cells
        sides = (low + (high - low) * torch.rand(case.regions, 2, generator=draw)) * stride
        corner = torch.rand(case.regions, 2, generator=draw) * (torch.tensor([800.0, 600.0]) - sides).clamp(
            min=0
        )
        boxes = torch.cat((corner, corner + sides), dim=1)
        image = torch.randint(case.num_images, (case.regions,), generator=draw)
        inputs.append((features.contiguous(memory_format=torch.channels_last), boxes, image, 1 / stride))
    return inputs


def make_run(case: Case, operator: Operator, layout: torch.memory_format) -> Callable[[], list[Tensor]]:
    """Return a function that pools all maps and returns the features, or their gradients."""
    inputs = [
        (features.contiguous(memory_format=layout).requires_grad_(case.backward), *rest)
        for features, *rest in make_inputs(case)
    ]

    def run() -> list[Tensor]:
        pooled = [operator(*one) for one in inputs]
        if not case.backward:
            return pooled
        return list(torch.autograd.grad(pooled, [one[0] for one in inputs], gradients))

    with torch.no_grad():
        shapes = [operator(*one) for one in inputs]
    draw = torch.Generator().manual_seed(1)
    gradients = [
        torch.randn(like.shape, generator=draw).to(like.dtype).contiguous(memory_format=layout)
        for like in shapes
    ]
    return run


def measure(case: Case, rounds: int, clock: Clock) -> Claim:
    runs = {
        "ours": make_run(case, case.ours, torch.channels_last),
        "peer": make_run(case, case.peer, torch.contiguous_format),
    }
    ours, theirs = runs["ours"](), runs["peer"]()  # also compiles our loops
    same = all(
        float((a.float() - b.float()).abs().max()) <= case.tolerance * float(b.float().abs().max())
        for a, b in zip(ours, theirs, strict=True)
    )
    del ours, theirs
    taken = in_turns(runs, rounds, clock)
    peer = f"torchvision {torchvision.__version__}"
    return claim_of(case.claim, taken["ours"], peer, taken["peer"], same_answer=same)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", action="store_true", help="processor seconds on one thread")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.cpu:
        torch.set_num_threads(1)
    clock = time.process_time if arguments.cpu else time.perf_counter
    deliver([measure(case, arguments.rounds, clock) for case in CASES], arguments.json)


if __name__ == "__main__":
    main()
