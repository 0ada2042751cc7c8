"""Config -> the transforms of an image before a model sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detkit.custom import build_custom
from detkit.data.config import DataConfig
from detkit.data.datasets.config import DatasetConfig
from detkit.data.transforms import config as spec
from detkit.data.transforms.colour import ColorJitter, Noise
from detkit.data.transforms.geometric import Affine, Flip, RandomCrop, Transform, ZoomOut
from detkit.data.transforms.lens import LensDistortion
from detkit.data.transforms.resize import (
    Resize,
    ResizeLikeCaffe,
    ResizeLikeTorchvision,
    ScaleCrop,
    keep_size,
    whole_image,
)
from detkit.errors import UserError
from detkit.spec import CustomConfig, Spec

_LIKE: Mapping[str, type[Resize]] = {
    "detkit": Resize,
    "torchvision": ResizeLikeTorchvision,
    "caffe": ResizeLikeCaffe,
}


def resizing(size: spec.ResizeConfig | None) -> Transform:
    """Return the transform that brings images to the size of a config."""
    return keep_size if size is None else _LIKE[size.like]((size.short_px,), size.long_px)


def eval_transforms(data: DataConfig) -> tuple[Transform, ...]:
    """Return the transforms of an image that is not trained on: the resizing alone."""
    return (resizing(data.resize),)


def train_transforms(data: DataConfig) -> tuple[Transform, ...]:
    """Return the augmentation of the training images in the config's order, then what sets their size."""
    last = resizing(data.resize)
    images = data.train
    whole = isinstance(images, DatasetConfig) and images.whole_images
    chosen: list[Transform] = [whole_image] if whole else []
    for item in data.train.augment if not isinstance(data.train, CustomConfig) else ():
        transform = TRANSFORMS[type(item)](item, data)
        # A user's own transform may be a plain function, which has no such attribute.
        if getattr(transform, "sets_size", False):
            last = transform
        else:
            chosen.append(transform)
    return (*chosen, last)


def _with_fields(transform: Callable[..., Transform]) -> Callable[[Spec, DataConfig], Transform]:
    """Return the builder of a transform that has exactly the fields of its config."""
    return lambda item, _: transform(**item.model_dump(exclude={"type"}))


def _multi_scale(item: spec.MultiScaleConfig, data: DataConfig) -> Transform:
    return Resize(item.short_px, data.resize.long_px) if data.resize else Resize(item.short_px)


def _custom(item: CustomConfig, _: DataConfig) -> Transform:
    made = build_custom(item)
    if not callable(made):
        raise UserError(f"target {item.target!r}: a transform must be callable")
    return made  # type: ignore[no-any-return]


TRANSFORMS: dict[type[Spec], Callable[[Any, DataConfig], Transform]] = {
    spec.FlipConfig: _with_fields(Flip),
    spec.MultiScaleConfig: _multi_scale,
    spec.RandomCropConfig: _with_fields(RandomCrop),
    spec.ZoomOutConfig: _with_fields(ZoomOut),
    spec.AffineConfig: _with_fields(Affine),
    spec.LensDistortionConfig: _with_fields(LensDistortion),
    spec.ScaleCropConfig: _with_fields(ScaleCrop),
    spec.ColorJitterConfig: _with_fields(ColorJitter),
    spec.NoiseConfig: _with_fields(Noise),
    CustomConfig: _custom,
}
"""The builder of every augmentation; a new one is a config class and an entry here."""
