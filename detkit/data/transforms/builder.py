"""Config -> what happens to an image before a model sees it."""

from __future__ import annotations

from collections.abc import Callable

from detkit.custom import build_custom
from detkit.data import config as spec
from detkit.spec import Custom, Spec
from detkit.data.transforms.colour import ColorJitter, Noise
from detkit.data.transforms.scale_crop import ScaleCrop, WholeImage
from detkit.data.transforms.geometric import Affine, Flip, KeepSize, RandomCrop, Resize, Transform, ZoomOut
from detkit.errors import UserError

TRANSFORMS: dict[type[Spec], Callable[..., Transform]] = {
    spec.Flip: Flip,
    spec.RandomCrop: RandomCrop,
    spec.ZoomOut: ZoomOut,
    spec.Affine: Affine,
    spec.ScaleCrop: ScaleCrop,
    spec.ColorJitter: ColorJitter,
    spec.Noise: Noise,
}


NO_LIMIT = 1 << 30  # of the long side, in pixels


def resizing(size: spec.Resize | None) -> Transform:
    """Return what brings images to the size of a config."""
    return KeepSize() if size is None else Resize((size.short_px,), size.long_px)


def eval_transforms(data: spec.Data) -> tuple[Transform, ...]:
    """Return what every image goes through: the resizing, where there is one."""
    return (resizing(data.resize),)


def train_transforms(data: spec.Data) -> tuple[Transform, ...]:
    """Return the augmentation of the training images in the config's order, then what sets their size."""
    last = resizing(data.resize)
    chosen: list[Transform] = [WholeImage()] if isinstance(data.train, spec.ClassifiedSet) else []
    for item in data.train.augment if not isinstance(data.train, Custom) else ():
        if isinstance(item, spec.MultiScale):
            last = Resize(item.short_px, data.resize.long_px if data.resize else NO_LIMIT)
        elif isinstance(item, spec.ScaleCrop):
            last = _transform(item)
        else:
            chosen.append(_transform(item))
    return (*chosen, last)


def _transform(item: spec.Augment) -> Transform:
    if isinstance(item, Custom):
        made = build_custom(item)
        if not callable(made):
            raise UserError(f"target {item.target!r}: a transform must be callable")
        return made  # type: ignore[no-any-return]
    # A spec has exactly the fields of its transform, which the tests hold.
    return TRANSFORMS[type(item)](**item.model_dump(exclude={"type"}))
