"""The `backbone` and `neck` of a config -> modules, with their pretrained weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from torch import nn

from detkit.custom import build_custom
from detkit.errors import UserError
from detkit.models.backbones.families import AnyBackboneConfig, PublishedBackboneConfig, family_of
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.necks.fpn import FPN, PlainMaps
from detkit.models.pretrained import LoadReport, load_weights, read_weights
from detkit.spec import CustomConfig


def build_backbone(spec: AnyBackboneConfig, *, pyramid: bool) -> nn.Module:
    """Return a backbone from scratch; it has `channels` and `strides`, those of the maps it gives.

    Args:
        spec: the config's `detector.backbone`.
        pyramid: whether to give four maps, or one at stride 16.

    Raises:
        UserError: If a custom backbone does not fit.
    """
    if isinstance(spec, CustomConfig):
        return custom_module("backbone", spec, ("channels", "strides"))
    return family_of(spec).build(spec, pyramid)


def build_neck(spec: AnyNeckConfig, channels: Sequence[int], strides: Sequence[int]) -> FPN | PlainMaps:
    """Return what stands between a backbone with such maps and the rest."""
    match spec:
        case NoNeckConfig():
            return PlainMaps(channels, strides)
        case FPNConfig():
            return FPN(channels, strides, channels=spec.channels, norm=spec.norm)
        case _:
            assert_never(spec)


def load_pretrained(spec: PublishedBackboneConfig, parts: dict[str, nn.Module]) -> LoadReport:
    """Copy `spec.weights` into the parts of a model, each under what its keys begin with in the file.

    Raises:
        UserError: If the weights cannot be read or nothing in them fits.
    """
    name = family_of(spec).published_name(spec)
    return load_weights(parts, read_weights(spec.weights, model=name, width=spec.width), spec.weights)


def custom_module(part: str, spec: CustomConfig, wanted: Sequence[str], **given: Any) -> nn.Module:
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
