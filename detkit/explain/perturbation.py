"""Maps by what a model says of changed images: occlusion, and D-RISE."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.explain.subject import GREY, IMAGES_AT_ONCE, OnStep, Subject

GRID, KEPT_SHARE = 16, 0.5
"""Cells of D-RISE's masks along each side, and the share of them that is kept; those of its paper."""

_WINDOWS = 8  # windows of occlusion along the longer side, each moved by half of itself


def occlusion(subject: Subject, on_step: OnStep) -> Tensor:
    """Return the (H, W) mean change of the score where a square of the mean colour covers a pixel.

    A drop is positive; of a coordinate any change is.

    Reference: Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014.
    """
    image = subject.image.pixels
    whole = float(subject.scores(image)[0])
    change, count = torch.zeros(image.shape[2:]), torch.zeros(image.shape[2:])
    windows = list(_windows(subject.image.sizes[0]))
    for start in range(0, len(windows), IMAGES_AT_ONCE):
        own = windows[start : start + IMAGES_AT_ONCE]
        covered = image.repeat(len(own), 1, 1, 1)
        for copy, (rows, columns) in zip(covered, own, strict=True):
            copy[:, rows, columns] = _grey(image)[0]
        for (rows, columns), score in zip(own, subject.scores(covered).tolist(), strict=True):
            drop = whole - score
            change[rows, columns] += drop if subject.output in {"class", "objectness"} else abs(drop)
            count[rows, columns] += 1
        on_step(len(own))
    return change / count.clamp(min=1)


def num_windows(size: tuple[int, int]) -> int:
    """Return how many squares `occlusion` covers of an image of (height, width) pixels."""
    return len(list(_windows(size)))


def drise(subject: Subject, masks: int, seed: int, on_step: OnStep) -> Tensor:
    """Return the (H, W) mean score of the images whose masks keep a pixel.

    Masks are made and summed up as they come, so that memory does not grow with their number, and their
    order, hence the map, depends on the seed alone. Masked images are detected in and weighted by
    `Subject.similarities`; where the object is not detected even in the whole image, by `Subject.scores`.

    Args:
        subject: what is explained.
        masks: how many; with few the map is noise (the paper takes 5000).
        seed: of the masks.
        on_step: see `OnStep`.

    Reference: Petsiuk et al., Black-box explanation of object detectors via saliency maps, CVPR 2021.
    """
    image, size = subject.image.pixels, subject.image.pixels.shape[2:]
    is_found = bool(subject.similarities(image)[0] > 0)
    weigh = subject.similarities if is_found or not subject.has_gradient else subject.scores
    chance = torch.Generator().manual_seed(seed)
    total, kept = torch.zeros(size), torch.zeros(size)
    for start in range(0, masks, IMAGES_AT_ONCE):
        own = torch.stack([_mask(size, chance) for _ in range(min(IMAGES_AT_ONCE, masks - start))])
        shares = own[:, None].to(image.device)
        mixed = image * shares + _grey(image) * (1 - shares)
        scores = weigh(mixed.round().to(torch.uint8))
        total += (scores[:, None, None] * own).sum(0)
        kept += own.sum(0)
        on_step(len(own))
    return total / kept.clamp(min=1e-6)


def _grey(image: Tensor) -> Tensor:
    return image.new_tensor(GREY).view(1, 3, 1, 1)


def _mask(size: torch.Size, chance: torch.Generator) -> Tensor:
    """Return an (H, W) mask from 0 to 1: a random grid, enlarged smoothly and shifted by part of a cell."""
    cell = [-(-side // GRID) for side in size]
    grid = (torch.rand((1, 1, GRID + 1, GRID + 1), generator=chance) < KEPT_SHARE).float()
    large = F.interpolate(grid, [(GRID + 1) * side for side in cell], mode="bilinear", align_corners=False)
    top, left = (int(torch.randint(side, (1,), generator=chance)) for side in cell)
    return large[0, 0, top : top + size[0], left : left + size[1]]


def _windows(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    side = max(2, round(max(size) / _WINDOWS))
    step = max(1, side // 2)
    for top in range(-side // 2, size[0], step):
        for left in range(-side // 2, size[1], step):
            rows, columns = slice(max(0, top), top + side), slice(max(0, left), left + side)
            if rows.stop > 0 and columns.stop > 0:
                yield rows, columns
