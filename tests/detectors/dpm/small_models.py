"""Small deformable part models with random weights, and the same for the slow reference."""

from __future__ import annotations

import numpy as np
import torch

from detkit.detectors.dpm.stars import Mixture, Star
from tests.reference.star_models import StarModel


def random_mixture(
    seed: int, roots: list[tuple[int, int]], num_parts: int, part: tuple[int, int] = (3, 3), **flags: bool
) -> Mixture:
    """Return random star models, with mirror images and predicted boxes unless `flags` say no."""
    generator = torch.Generator().manual_seed(seed)
    flags = {"mirrored": True, "predicts_box": True} | flags
    stars = [Star(root, num_parts, part, **flags) for root in roots]
    for star in stars:
        for name in ("root", "parts"):
            values = getattr(star, name)
            values.copy_(0.3 * torch.randn(values.shape, generator=generator))
        star.anchors.copy_(torch.randint(-1, 7, star.anchors.shape, generator=generator))
        star.deformations.copy_(0.2 * torch.rand(star.deformations.shape, generator=generator))
        star.deformations[:, 1::2] -= 0.1
        star.offset.copy_(torch.randn((), generator=generator))
        star.location.copy_(torch.randn(3, generator=generator))
        if star.box is not None:
            star.box.copy_(0.1 * torch.randn(star.box.shape, generator=generator))
    return Mixture(stars)


def reference_models(mixture: Mixture) -> list[StarModel]:
    """Return the components as the slow reference takes them."""
    models = []
    for star in mixture.stars:
        model = StarModel(
            star.root.double().numpy(),
            list(star.parts.double().numpy()),
            star.anchors.tolist(),
            star.deformations.tolist(),
            float(star.offset),
            tuple(star.location.tolist()),
        )
        models += [model, model.mirrored()] if star.is_mirrored else [model]
    return models


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a random image of smooth blobs."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(6, 0).repeat(6, 1)[:height, :width])
