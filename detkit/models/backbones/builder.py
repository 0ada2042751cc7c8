"""The `backbone` and `neck` of a config -> modules, with their pretrained weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from torch import nn

from detkit.custom import build_custom
from detkit.models.backbones.config import (
    AlexNetBackbone,
    Backbone,
    GoogLeNetBackbone,
    PublishedBackbone,
    ResNetBackbone,
    VGGBackbone,
    ZFNetBackbone,
)
from detkit.models.necks.config import FPN as FPNSpec
from detkit.models.necks.config import Neck, NoNeck
from detkit.spec import Custom
from detkit.errors import UserError
from detkit.models.backbones.alexnet.network import AlexNet
from detkit.models.backbones.googlenet.network import GoogLeNet
from detkit.models.backbones.resnet.network import ResNet
from detkit.models.backbones.vgg.network import VGG
from detkit.models.backbones.zfnet.network import ZFNet
from detkit.models.necks.fpn import FPN, PlainMaps
from detkit.models.pretrained import LoadReport, load_weights, read_weights


def build_backbone(spec: Backbone, *, pyramid: bool) -> nn.Module:
    """Return a backbone from scratch; it has `channels` and `strides`, those of the maps it gives.

    Args:
        spec: the config's `detector.backbone`.
        pyramid: whether to give four maps, or one at stride 16.

    Raises:
        UserError: If a custom backbone does not fit.
    """
    match spec:
        case AlexNetBackbone():
            return AlexNet(width=spec.width, freeze_at=_freeze_at(spec))
        case ZFNetBackbone():
            return ZFNet(width=spec.width, freeze_at=_freeze_at(spec))
        case GoogLeNetBackbone():
            return GoogLeNet(width=spec.width, norm=spec.norm, freeze_at=_freeze_at(spec), pyramid=pyramid)
        case VGGBackbone():
            return VGG(
                depth=spec.depth,
                batch_norm=spec.batch_norm,
                norm=spec.norm,
                width=spec.width,
                freeze_at=_freeze_at(spec),
                pyramid=pyramid,
            )
        case ResNetBackbone():
            return ResNet(
                depth=spec.depth,
                width=spec.width,
                norm=spec.norm,
                freeze_at=_freeze_at(spec),
                pyramid=pyramid,
            )
        case Custom():
            return custom_module("backbone", spec, ("channels", "strides"))
        case _:
            assert_never(spec)


def build_neck(spec: Neck, channels: Sequence[int], strides: Sequence[int]) -> FPN | PlainMaps:
    """Return what stands between a backbone with such maps and the rest."""
    match spec:
        case NoNeck():
            return PlainMaps(channels, strides)
        case FPNSpec():
            return FPN(channels, strides, channels=spec.channels, norm=spec.norm)
        case _:
            assert_never(spec)


def load_pretrained(spec: PublishedBackbone, parts: dict[str, nn.Module]) -> LoadReport:
    """Copy `spec.weights` into the parts of a model, each under what its keys begin with in the file.

    Raises:
        UserError: If the weights cannot be read or nothing in them fits.
    """
    name: str
    match spec:
        case AlexNetBackbone() | ZFNetBackbone() | GoogLeNetBackbone():
            name = spec.type
        case VGGBackbone():
            name = f"vgg{spec.depth}{'_bn' if spec.batch_norm else ''}"
        case ResNetBackbone():
            name = f"resnet{spec.depth}"
        case _:
            assert_never(spec)
    return load_weights(parts, read_weights(spec.weights, model=name, width=spec.width), spec.weights)


def is_frozen(spec: PublishedBackbone, stage: int) -> bool:
    """Return whether a stage, counted from 1, stays as it is."""
    return stage <= _freeze_at(spec)


def custom_module(part: str, spec: Custom, wanted: Sequence[str], **given: Any) -> nn.Module:
    """Return a user's own module.

    Raises:
        UserError: If it cannot be made or lacks an attribute that its place needs.
    """
    module = build_custom(spec, **given)
    lacks = [name for name in wanted if not hasattr(module, name)]
    if not isinstance(module, nn.Module) or lacks:
        raise UserError(
            f"{part}: {spec.target} must give a torch.nn.Module with {', '.join(wanted)}; "
            f"it gave a {type(module).__name__}" + (f" without {', '.join(lacks)}" if lacks else "")
        )
    return module


def _freeze_at(spec: PublishedBackbone) -> int:
    """Return how many stages are frozen; random weights never are."""
    return 0 if spec.weights == "none" else spec.freeze_at
