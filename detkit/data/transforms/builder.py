"""Config -> what happens to an image before a model sees it."""

from __future__ import annotations

from collections.abc import Callable

from detkit.custom import build_custom
from detkit.data.config import DataConfig
from detkit.data.datasets.config import ClassifiedDatasetConfig
from detkit.data.transforms import config as spec
from detkit.data.transforms.colour import ColorJitter, Noise
from detkit.data.transforms.geometric import Affine, Flip, KeepSize, RandomCrop, Resize, Transform, ZoomOut
from detkit.data.transforms.scale_crop import ScaleCrop, WholeImage
from detkit.errors import UserError
from detkit.spec import CustomConfig, Spec

TRANSFORMS: dict[type[Spec], Callable[..., Transform]] = {
    spec.FlipConfig: Flip,
    spec.RandomCropConfig: RandomCrop,
    spec.ZoomOutConfig: ZoomOut,
    spec.AffineConfig: Affine,
    spec.ScaleCropConfig: ScaleCrop,
    spec.ColorJitterConfig: ColorJitter,
    spec.NoiseConfig: Noise,
}


NO_LIMIT = 1 << 30  # of the long side, in pixels


def resizing(size: spec.ResizeConfig | None) -> Transform:
    """Return what brings images to the size of a config."""
    return KeepSize() if size is None else Resize((size.short_px,), size.long_px)


def eval_transforms(data: DataConfig) -> tuple[Transform, ...]:
    """Return what every image goes through: the resizing, where there is one."""
    return (resizing(data.resize),)


def train_transforms(data: DataConfig) -> tuple[Transform, ...]:
    """Return the augmentation of the training images in the config's order, then what sets their size."""
    last = resizing(data.resize)
    chosen: list[Transform] = [WholeImage()] if isinstance(data.train, ClassifiedDatasetConfig) else []
    for item in data.train.augment if not isinstance(data.train, CustomConfig) else ():
        if isinstance(item, spec.MultiScaleConfig):
            last = Resize(item.short_px, data.resize.long_px if data.resize else NO_LIMIT)
        elif isinstance(item, spec.ScaleCropConfig):
            last = _transform(item)
        else:
            chosen.append(_transform(item))
    return (*chosen, last)


def _transform(item: spec.TransformConfig) -> Transform:
    if isinstance(item, CustomConfig):
        made = build_custom(item)
        if not callable(made):
            raise UserError(f"target {item.target!r}: a transform must be callable")
        return made  # type: ignore[no-any-return]
    # A spec has exactly the fields of its transform, which the tests hold.
    return TRANSFORMS[type(item)](**item.model_dump(exclude={"type"}))
