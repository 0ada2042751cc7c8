"""R-CNN's crops on the CPU: detkit's warp beside a loop over OpenCV's resize, interleaved, on one core.

2,000 regions of a 500 x 375 image, cut with 16 pixels of context and warped to 227 x 227, mean colour outside
the image, normalised to float32 in the layout that a network takes. The loop resizes each region with OpenCV
into a canvas of the mean colour (uint8, as R-CNN's own training code did) and normalises 128 crops at a time
with torch. Wall-clock seconds; `--cpu` measures processor seconds, which other work on the machine disturbs
less.

    python benchmarks/crops.py [--rounds 7] [--cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring.turns import Claim, Clock, claim_of, deliver, in_turns
from numpy.typing import NDArray
from torch import Tensor

from detkit.ops.warp import Cuts, WarpPlan, plan_warp, warp
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD

HEIGHT, WIDTH, SIZE, CONTEXT, REGIONS, AT_ONCE = 375, 500, 227, 16, 2000, 128
MEAN, STD = 255 * torch.tensor(IMAGENET_MEAN), 255 * torch.tensor(IMAGENET_STD)
# A grey level is 1 / 57 of a deviation; OpenCV rounds to whole ones, and to 1/2048 of a pixel before.
TOLERANCE = 1.0 / float(STD.min())


def scene() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return an image and boxes with the sizes that selective search gives on photos."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    centre = rng.random((3 * REGIONS, 2)) * [WIDTH, HEIGHT]
    sides = np.exp(rng.normal(4.5, 0.7, (3 * REGIONS, 2)))
    boxes = np.clip(np.round(np.hstack([centre - sides / 2, centre + sides / 2])), 0, [WIDTH, HEIGHT] * 2)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= 20).all(axis=1)
    return image, boxes[large][:REGIONS].astype(np.float32)


def ours(image: NDArray[np.uint8], plan: WarpPlan, see: Callable[[Tensor], None]) -> None:
    table, cuts = torch.from_numpy(image).view(-1, 3), Cuts.in_image(plan, WIDTH)
    memory = torch.empty((AT_ONCE, SIZE, SIZE, 3))
    for start in range(0, len(plan), AT_ONCE):
        see(warp(table, cuts.part(start, start + AT_ONCE), SIZE, MEAN, STD, memory))


def peer(image: NDArray[np.uint8], plan: WarpPlan, see: Callable[[Tensor], None]) -> None:
    fill = MEAN.round().to(torch.uint8).numpy()
    canvas, floats = np.empty((AT_ONCE, SIZE, SIZE, 3), np.uint8), torch.empty((AT_ONCE, SIZE, SIZE, 3))
    sources, places = plan.sources.tolist(), plan.places.tolist()
    for start in range(0, len(plan), AT_ONCE):
        some = range(start, min(start + AT_ONCE, len(plan)))
        for crop, number in zip(canvas, some, strict=False):
            (x, y, w, h), (left, top, wide, high) = sources[number], places[number]
            if (wide, high) != (SIZE, SIZE):
                crop[:] = fill
            crop[top : top + high, left : left + wide] = cv2.resize(
                image[y : y + h, x : x + w], (wide, high), interpolation=cv2.INTER_LINEAR
            )
        batch = floats[: len(some)].copy_(torch.from_numpy(canvas[: len(some)]))
        see(batch.sub_(MEAN).div_(STD).permute(0, 3, 1, 2))


def greatest_difference(image: NDArray[np.uint8], plan: WarpPlan) -> float:
    """Return how far the two are apart at most, over all values."""
    kept: dict[str, list[Tensor]] = {"ours": [], "peer": []}
    few = WarpPlan(plan.sources[:AT_ONCE], plan.places[:AT_ONCE])
    ours(image, few, lambda batch: kept["ours"].append(batch.clone()))
    peer(image, few, lambda batch: kept["peer"].append(batch.clone()))
    return float((torch.cat(kept["ours"]) - torch.cat(kept["peer"])).abs().max())


def measure(rounds: int, clock: Clock) -> Claim:
    """Return the claim."""
    image, boxes = scene()
    plan = plan_warp(boxes, (HEIGHT, WIDTH), SIZE, CONTEXT, square=False)
    taken = in_turns(
        {"ours": lambda: ours(image, plan, unseen), "peer": lambda: peer(image, plan, unseen)}, rounds, clock
    )
    return claim_of(
        f"R-CNN's crops, {len(plan)} regions at {SIZE} x {SIZE}, one core",
        taken["ours"],
        f"a loop over OpenCV {cv2.__version__}'s resize",
        taken["peer"],
        same_answer=greatest_difference(image, plan) <= TOLERANCE,
    )


def unseen(batch: Tensor) -> None:
    """Look at no crop."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", action="store_true", help="processor seconds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clock = time.process_time if options.cpu else time.perf_counter
    deliver([measure(options.rounds, clock)], options.json)


if __name__ == "__main__":
    main()
