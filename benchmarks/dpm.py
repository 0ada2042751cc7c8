"""Deformable part models: one class, twenty classes and the star-cascade on an image of 500 x 375 pixels.

Without files the models are random ones of the shapes of the authors' twenty classes, the image is made of
blobs, and there is no cascade. With a model file (`detkit import`) and a photograph these are used; what a
cascade finds depends on both. There is no peer to measure beside: the authors' program needs MATLAB.

    python benchmarks/dpm.py [--weights FILE] [--image FILE] [--rounds 5] [--threads N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from detkit.config.load import load_config
from detkit.detectors.builder import build_detector
from detkit.runs.predictor import load_detector

SIZE = (500, 375)


def random_model() -> Any:
    """Return the model of the shipped config with random weights, which find next to nothing."""
    config = load_config("dpm_voc07")
    model = build_detector(config.detector, len(config.data.classes))
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith((".root", ".parts")):
            value.copy_(0.01 * torch.randn(value.shape, generator=generator))
        elif name.endswith(".deformations"):
            value.copy_(0.01 * torch.rand(value.shape, generator=generator).double())
        elif name.endswith(".offset"):
            value.fill_(-2.0)
    return model


def picture(file: Path | None) -> np.ndarray:
    """Return a photograph, or blobs, in pixels of 500 x 375."""
    if file is not None:
        return np.asarray(Image.open(file).convert("RGB").resize(SIZE))
    small = np.random.default_rng(0).integers(0, 256, (38, 50, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(SIZE))


def seconds(model: Any, image: np.ndarray, rounds: int) -> tuple[float, int]:
    """Return the median of several searches, and how many placements there were."""
    taken, found = [], model.placements(image)  # the first one compiles
    for _ in range(rounds):
        start = time.perf_counter()
        found = model.placements(image)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), sum(map(len, found))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model = random_model() if given.weights is None else load_detector(given.weights).model
    image, everything, claims = picture(given.image), list(model.mixtures), []
    kind = "DPM" if model.projection is None else "DPM, star-cascade"
    for num in sorted({1, len(everything)}):
        model.mixtures = torch.nn.ModuleList(everything[:num])
        taken, found = seconds(model, image, given.rounds)
        claim = f"{kind}, {num} class{'es' * (num > 1)}, 500 x 375, {torch.get_num_threads()} threads"
        print(f"{claim}: {taken:.3f} s, {found} placements")
        claims.append({"claim": claim, "ours_s": taken, "peer": None, "peer_s": None, "ratio": None})
        claims[-1] |= {"same_answer": None, "machine": platform.processor() or platform.machine()}
    if given.json:
        given.json.write_text(json.dumps(claims, indent=1) + "\n")


if __name__ == "__main__":
    main()
