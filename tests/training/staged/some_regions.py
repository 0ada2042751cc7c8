"""Regions of a few images, at many overlaps with their objects."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.data.datasets.index import Index, Strings
from detkit.data.regions.training_regions import TrainingRegions

NUM_IMAGES = 5


def made_regions() -> TrainingRegions:
    """Images with three objects each, the last of which is difficult, and boxes at many overlaps."""
    chance = np.random.default_rng(0)
    corners = chance.random((NUM_IMAGES, 3, 2)) * 100 + np.array([[0, 0], [150, 0], [0, 150]])
    objects = np.concatenate([corners, corners + 80], axis=2).astype(np.float32)
    index = Index(
        torch.from_numpy(objects.reshape(-1, 4)),
        torch.tensor([0, 1, 0] * NUM_IMAGES, dtype=torch.int32),
        torch.tensor([False, False, True] * NUM_IMAGES),
        torch.zeros(3 * NUM_IMAGES, dtype=torch.bool),
        torch.arange(0, 3 * NUM_IMAGES + 1, 3),
        torch.tensor([[400, 400]] * NUM_IMAGES, dtype=torch.int32),
        Strings.of([f"{i}.jpg" for i in range(NUM_IMAGES)]),
    )

    def proposals(image: int) -> NDArray[np.float32]:
        noise = np.random.default_rng(image + 1)
        near = objects[image].repeat(12, axis=0) + 18 * noise.standard_normal((36, 4))
        corner = noise.random((20, 2)) * 250
        far = np.concatenate([corner, corner + 20 + 60 * noise.random((20, 2))], axis=1)
        return np.concatenate([near, far]).astype(np.float32)

    return TrainingRegions(index, proposals)
