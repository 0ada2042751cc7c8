"""The `backbone` and `neck` of a config -> modules, with their pretrained weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard, assert_never, cast

from torch import nn

from detkit.errors import UserError
from detkit.models.backbones.families import AnyBackboneConfig, PublishedBackboneConfig, family_of
from detkit.models.custom_builder import custom_module
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.necks.fpn import FPN, Neck, PlainMaps
from detkit.models.pretrained import LoadReport, load_weights, read_weights
from detkit.spec import CustomConfig


def build_backbone(spec: AnyBackboneConfig, *, pyramid: bool, crops: bool = False) -> nn.Module:
    """Return a backbone from scratch; it has `channels` and `strides`, those of the maps it gives.

    Args:
        spec: the config's `detector.backbone`.
        pyramid: whether to give four maps, or one at stride 16.
        crops: see `BackboneFamily.build`.

    Raises:
        UserError: If a custom backbone does not fit.
    """
    if isinstance(spec, CustomConfig):
        return _module_with_maps("backbone", spec)
    return family_of(spec).build(spec, pyramid, crops)


def build_neck(spec: AnyNeckConfig, channels: Sequence[int], strides: Sequence[int]) -> Neck:
    """Return what stands between a backbone with such maps and the rest.

    A neck of the user's own is called with `channels` and `strides`, and has both for the maps it returns.
    With `region_strides` it says that regions are taken from the first ones alone.

    Raises:
        UserError: If a neck of the user's own does not fit.
    """
    match spec:
        case NoNeckConfig():
            return PlainMaps(channels, strides)
        case FPNConfig():
            return FPN(channels, strides, channels=spec.channels, norm=spec.norm)
        case CustomConfig():
            own = _module_with_maps("neck", spec, channels=tuple(channels), strides=tuple(strides))
            return _with_region_strides(cast(Neck, own), spec.target)
        case _:
            assert_never(spec)


def load_pretrained(spec: PublishedBackboneConfig, parts: dict[str, nn.Module]) -> LoadReport:
    """Copy `spec.weights` into the parts of a model, each under what its keys begin with in the file.

    Raises:
        UserError: If the weights cannot be read or nothing in them fits.
    """
    name = family_of(spec).published_name(spec)
    return load_weights(parts, read_weights(spec.weights, model=name, width=spec.width), spec.weights)


def _module_with_maps(part: str, spec: CustomConfig, **given: Any) -> nn.Module:
    """Return a user's own module that says which maps it returns."""
    module = custom_module(part, spec, ("channels", "strides"), **given)
    channels, strides = module.channels, module.strides
    if not (_are_counts(channels) and _are_counts(strides) and len(channels) == len(strides)):
        raise UserError(
            f"{part}: channels and strides of what {spec.target} gives must be lists of positive integers, "
            f"one of each for every map, finest first; they are {channels!r} and {strides!r}"
        )
    return module


def _with_region_strides(neck: Neck, target: str) -> Neck:
    """Return a user's own neck that says which of its maps regions are taken from: all, if it does not."""
    first = list(getattr(neck, "region_strides", neck.strides))
    if not first or first != list(neck.strides[: len(first)]):
        raise UserError(
            f"neck: region_strides of what {target} gives must be the first of its strides, "
            f"{list(neck.strides)}; they are {first}"
        )
    neck.region_strides = tuple(first)
    return neck


def _are_counts(value: object) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(each, int) and each > 0 for each in value)
    )
