"""Random detectors of other toolkits, whose own programs recorded what they find.

A record has the shape of every weight by the toolkit's name, of the four of a norm together its number of
channels, but no weights: these come from the name alone.
Only the layers that decide have numbers of their own, so that their outputs differ from place to place.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "parity/recorded"
SMALL = 0.2  # what the last norm of a residual block multiplies by: deep random networks amplify rounding
NORM = ("weight", "bias", "running_mean", "running_var")


def read_record(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return record


def weights(record: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a recorded detector by the toolkit's names."""
    shapes: dict[str, list[int]] = {}
    for name, shape in record["shapes"].items():
        shapes |= {f"{name}.{part}": [shape] for part in NORM} if isinstance(shape, int) else {name: shape}
    made = {name: _values(name, tuple(shape)) for name, shape in shapes.items()}
    for layer, (factors, bias) in record["deciding"].items():
        weight = made[f"{layer}.weight"]
        made[f"{layer}.weight"] = weight * np.float32(factors).reshape(-1, *[1] * (weight.ndim - 1))
        made[f"{layer}.bias"] = np.float32(bias)
    return made


def _values(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if len(shape) < 2:
        ends_block = ("conv2.norm.weight", ".bn2.weight")  # blocks of two convolutions
        value = SMALL if name.endswith(ends_block) else float(name.endswith(("weight", "running_var")))
        return np.full(shape, value, np.float32)
    random = np.random.RandomState(zlib.crc32(name.encode()))  # its numbers never change
    return np.float32(random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])))


def image(number: int) -> NDArray[np.uint8]:
    """Return a picture of coarse and fine patches, of a size of its own."""
    random = np.random.RandomState(number)
    height, width = 120 + 31 * number, 170 - 23 * number
    coarse = np.kron(random.randint(0, 256, (12, 12, 3)), np.ones((32, 32, 1)))
    fine = random.randint(-40, 41, (384, 384, 3))
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)[:height, :width]


def given_boxes(number: int) -> NDArray[np.float32]:
    """Return the (60, 4) boxes of a picture that a detector without proposals of its own is given."""
    height, width = image(number).shape[:2]
    x, y = np.sort(np.random.RandomState(number).uniform(size=(2, 60, 2)), axis=2)
    return np.float32(np.stack([x[:, 0] * width, y[:, 0] * height, x[:, 1] * width, y[:, 1] * height], 1))


def assert_same(found: Any, boxes: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor) -> None:
    """Check that a prediction has these detections: within 0.01 px and a score of 0.0001, in any order.

    They are compared by pairs: scores that differ in the last bit change places.
    """
    assert len(found.boxes) == len(scores)
    if not len(scores):
        return
    ours = torch.from_numpy(found.boxes)
    apart = torch.cdist(ours, boxes, p=float("inf"))
    apart[torch.from_numpy(found.labels)[:, None] != labels] = float("inf")
    distance, partner = apart.min(dim=1)
    assert len(partner.unique()) == len(ours)
    assert distance.max() < 1e-2
    torch.testing.assert_close(torch.from_numpy(found.scores), scores[partner], atol=1e-4, rtol=0)
