"""Non-maximum suppression on the CPU: detkit's loop beside torchvision's operators, interleaved.

Boxes of a proposal network on one map (2,000, 6,000 and 12,000, as C4 wirings have) and on the five of an
FPN; final detections class by class; boxes of few places and few scores. The peers of groups are
`batched_nms`, and a call of `nms` for each group, which rounds nothing. torchvision keeps all and is cut to
as many as are wanted, as its own detectors do. OMP_NUM_THREADS=1 spares waiting threads: both sides use one.

    python benchmarks/nms.py [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torchvision
from measuring.turns import Claim, claim_of, deliver, in_turns
from torch import Tensor

from detkit.ops.nms import grouped_nms

REPEATS = 5
Inputs = tuple[Tensor, Tensor, Tensor]


def random_boxes(num: int, num_groups: int, objects: int, spread: float, seed: int = 0) -> Inputs:
    """Return boxes around so many objects of an 800 x 600 image, their scores and groups."""
    draw = torch.Generator().manual_seed(seed)
    side = 16 * 25 ** torch.rand(objects, 2, generator=draw)
    centre = torch.rand(objects, 2, generator=draw) * torch.tensor([800.0, 600.0])
    of = torch.randint(objects, (num,), generator=draw)
    middle = centre[of] + spread * side[of] * torch.randn(num, 2, generator=draw)
    sides = side[of] * (spread * torch.randn(num, 2, generator=draw)).exp()
    boxes = torch.cat((middle - sides / 2, middle + sides / 2), dim=1)
    limits = torch.tensor([800.0, 600.0]).repeat(2)
    scores = torch.rand(num, generator=draw)
    return boxes.clamp(min=0).minimum(limits), scores, torch.randint(num_groups, (num,), generator=draw)


def few_places(num: int, num_groups: int) -> Inputs:
    """Return boxes most of which have the place and the score of another."""
    boxes, scores, groups = random_boxes(num, num_groups, 30, 0.3)
    return (boxes / 32).round() * 32, (scores * 10).round() / 10, groups


def one_call(inputs: Inputs, iou: float, at_most: int) -> Tensor:
    boxes, scores, _ = inputs
    return torchvision.ops.nms(boxes, scores, iou)[:at_most]


def batched(inputs: Inputs, iou: float, at_most: int) -> Tensor:
    boxes, scores, groups = inputs
    return torchvision.ops.batched_nms(boxes, scores, groups, iou)[:at_most]


def each_group(inputs: Inputs, iou: float, at_most: int) -> Tensor:
    boxes, scores, groups = inputs
    rows = [(groups == group).nonzero()[:, 0] for group in groups.unique()]
    kept = torch.cat([of[torchvision.ops.nms(boxes[of], scores[of], iou)] for of in rows]).sort().values
    return kept[scores[kept].sort(descending=True, stable=True).indices[:at_most]]


def ours(inputs: Inputs, iou: float, at_most: int) -> Tensor:
    return grouped_nms(*inputs, iou, at_most)


CASES: tuple[tuple[str, Inputs, float, int, tuple[Callable[..., Tensor], ...]], ...] = (
    ("2000 proposals, IoU 0.7, best 1000", random_boxes(2000, 1, 400, 0.2), 0.7, 1000, (one_call,)),
    ("6000 proposals, IoU 0.7, best 300", random_boxes(6000, 1, 1000, 0.2), 0.7, 300, (one_call,)),
    ("12000 proposals, IoU 0.7, best 2000", random_boxes(12000, 1, 2000, 0.2), 0.7, 2000, (one_call,)),
    (
        "5 levels of 1000, IoU 0.7, best 1000",
        random_boxes(5000, 5, 1000, 0.2),
        0.7,
        1000,
        (batched, each_group),
    ),
    (
        "300 boxes, 20 classes, IoU 0.5, best 100",
        random_boxes(300, 20, 30, 0.2),
        0.5,
        100,
        (batched, each_group),
    ),
    (
        "1000 boxes, 80 classes, IoU 0.5, best 100",
        random_boxes(1000, 80, 50, 0.2),
        0.5,
        100,
        (batched, each_group),
    ),
    (
        "20000 boxes, 80 classes, IoU 0.5, best 100",
        random_boxes(20000, 80, 50, 0.2),
        0.5,
        100,
        (batched, each_group),
    ),
    ("2000 boxes of few places and scores, IoU 0.5", few_places(2000, 1), 0.5, 2000, (one_call,)),
)


def measure(rounds: int) -> list[Claim]:
    claims = []
    for text, inputs, iou, at_most, peers in CASES:
        sides = {side.__name__: partial(side, inputs, iou, at_most) for side in (ours, *peers)}
        kept = {name: run() for name, run in sides.items()}
        taken = in_turns({name: partial(repeated, run) for name, run in sides.items()}, rounds)
        seconds = {name: [one / REPEATS for one in of] for name, of in taken.items()}
        for peer in peers:
            name = peer.__name__
            claims.append(
                claim_of(
                    f"NMS of {text} ({len(kept['ours'])} kept)",
                    seconds["ours"],
                    f"torchvision {torchvision.__version__}, {name.replace('_', ' ')}",
                    seconds[name],
                    same_answer=torch.equal(kept["ours"], kept[name]),
                )
            )
    return claims


def repeated(run: Callable[[], Tensor]) -> None:
    for _ in range(REPEATS):
        run()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    deliver(measure(arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
