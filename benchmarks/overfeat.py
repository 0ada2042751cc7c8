"""OverFeat: all windows of an image at once beside the same windows one by one, interleaved.

An AlexNet reads each size of an image once for all its windows; beside it each is cut out and classified as
an image of its own. A crop holds what the network sees around its window, within the image, which makes both
answers the same; --alone cuts at the window's own border, as a classifier is used, and the answers differ.
Of the windows one by one some are measured, spread evenly, and the time is that of all.

    python benchmarks/overfeat.py [--alone] [--width 1] [--windows 60] [--rounds 3] [--threads N]
                                  [--json FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from measuring.turns import claim_of, deliver, in_turns
from torch import Tensor

from detkit.detectors.builder import build_detector
from detkit.detectors.overfeat.config import OverFeatConfig
from detkit.models.image_input import resized
from detkit.structures import ImageBatch

SIZE, STRIDE, CLASSES = (461, 569), 16, 20
SCALES = (0.5315, 0.6095, 0.6876, 0.8438, 0.9219, 1.0)
REACH = 6  # cells that AlexNet's last map sees beyond its own, 195 pixels in all


def model_of(scales: tuple[float, ...], width: float) -> Any:
    """Return an OverFeat with AlexNet and random weights."""
    parts = {
        "type": "overfeat",
        "backbone": {"type": "alexnet", "width": width},
        "proposals": {"type": "dense_windows", "scales": scales},
        "regions": {"type": "offset_pool", "size": 3, "stride": 2},
        "head": {"type": "dense_softmax"},
    }
    return build_detector(OverFeatConfig.model_validate(parts), CLASSES, 0).eval()


def dense(model: Any, pixels: Tensor) -> list[Tensor]:
    """Return for each size the (H, W, K + 1) logits of the windows of a (3, H, W) image."""
    size = (pixels.shape[1], pixels.shape[2])
    pooled = model.pooled_maps(ImageBatch(pixels[None], (size,), (size,)))
    return [level[0] for level in model.logits(pooled)]


def one_by_one(single: Any, copies: list[Tensor], windows: list[tuple[int, int, int]], reach: int) -> Tensor:
    """Return the (N, K + 1) logits of windows, each cut out of the copy of its level."""
    span, found = single.pool.span, []
    for level, y, x in windows:
        top, left = max(0, y - reach), max(0, x - reach)
        bottom, right = y + span + reach, x + span + reach
        crop = copies[level][:, top * STRIDE : bottom * STRIDE, left * STRIDE : right * STRIDE]
        (logits,) = dense(single, crop)
        found.append(logits[y - top, x - left])
    return torch.stack(found)


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model, single = model_of(SCALES, given.width), model_of((1.0,), given.width)
    single.load_state_dict(model.state_dict())
    pixels = torch.randn((3, *SIZE), generator=torch.Generator().manual_seed(0))
    copies = [resized(pixels[None], factor)[0] for factor in SCALES]
    everything = dense(model, pixels)
    windows = [
        (level, y, x)
        for level, logits in enumerate(everything)
        for y in range(logits.shape[0])
        for x in range(logits.shape[1])
    ]
    some = windows[:: max(1, len(windows) // given.windows)]
    reach = 0 if given.alone else REACH
    taken = in_turns(
        {"dense": lambda: dense(model, pixels), "alone": lambda: one_by_one(single, copies, some, reach)},
        given.rounds,
    )
    alone = one_by_one(single, copies, some, reach)
    together = torch.stack([everything[level][y, x] for level, y, x in some])
    difference = (alone - together).abs().max().item() / together.abs().max().item()
    whole = [seconds * len(windows) / len(some) for seconds in taken["alone"]]
    around = "" if given.alone else " and what is seen around it"
    claim = claim_of(
        f"OverFeat, AlexNet, {len(windows)} windows of six sizes of {SIZE[1]} x {SIZE[0]} pixels",
        taken["dense"],
        f"each window{around} as an image of its own ({len(some)} of them measured)",
        whole,
        same_answer=difference < 1e-4,
        largest_difference=difference,
    )
    deliver([claim], given.json)


if __name__ == "__main__":
    main()
