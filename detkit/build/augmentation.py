"""Config -> what happens to an image before a model sees it."""

from __future__ import annotations

from typing import assert_never

from detkit.build.custom import build_custom
from detkit.config import data as spec
from detkit.config.spec import Custom
from detkit.data.colour import ColorJitter, Noise
from detkit.data.transforms import Affine, Flip, RandomCrop, Resize, Transform, ZoomOut
from detkit.errors import UserError


def eval_transforms(data: spec.Data) -> tuple[Transform, ...]:
    """Return what every image goes through: the resizing alone."""
    return (Resize((data.resize.short_px,), data.resize.long_px),)


def train_transforms(data: spec.Data) -> tuple[Transform, ...]:
    """Return the augmentation of the training images in the config's order, then the resizing."""
    lengths: tuple[int, ...] = (data.resize.short_px,)
    chosen: list[Transform] = []
    for item in data.train.augment if not isinstance(data.train, Custom) else ():
        if isinstance(item, spec.MultiScale):
            lengths = item.short_px
        else:
            chosen.append(_transform(item))
    return (*chosen, Resize(lengths, data.resize.long_px))


def _transform(item: spec.Augment) -> Transform:
    match item:
        case spec.Flip(probability=probability, direction=direction):
            return Flip(probability, direction)
        case spec.RandomCrop(probability=probability, min_scale=min_scale):
            return RandomCrop(probability, min_scale)
        case spec.ZoomOut(probability=probability, max_scale=max_scale):
            return ZoomOut(probability, max_scale)
        case spec.Affine():
            return Affine(item.probability, item.degrees, item.shear_degrees, item.stretch)
        case spec.ColorJitter():
            return ColorJitter(item.probability, item.brightness, item.contrast, item.saturation, item.hue)
        case spec.Noise(probability=probability, sigma=sigma):
            return Noise(probability, sigma)
        case Custom():
            made = build_custom(item)
            if not callable(made):
                raise UserError(f"target {item.target!r}: a transform must be callable")
            return made  # type: ignore[no-any-return]
        case spec.MultiScale():
            raise AssertionError("multi_scale is part of the resizing")
        case _:
            assert_never(item)
