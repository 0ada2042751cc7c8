"""How features of a region are taken from the map, the heads that decide, and what goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from detkit.models.backbones.families import FAMILIES, AnyBackboneConfig, any_of, family_named, owners_of
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.roi.head_config import FcHeadConfig, HeadConfig
from detkit.spec import Count, CustomConfig, Index, Spec, one_of


class RoIPoolConfig(Spec):
    """Max over a grid of integer bins (Girshick 2015)."""

    type: Literal["roi_pool"] = "roi_pool"
    size: Count = 7
    """Bins along each side."""


class RoIAlignConfig(Spec):
    """Mean of bilinear samples without rounding (He 2017)."""

    type: Literal["roi_align"] = "roi_align"
    size: Count = 7
    """Bins along each side."""
    sampling_ratio: Index = 2
    """Samples along each side of a bin; 0 takes as many as the bin has cells."""
    aligned: bool = True
    """Shift by half a cell so that a sample sits at the centre of what it stands for; torchvision's
    models were trained without."""


AnyRegionsConfig = Annotated[RoIPoolConfig | RoIAlignConfig | CustomConfig, Field(discriminator="type")]


class TwoFcHeadConfig(FcHeadConfig):
    """Two fully connected layers from scratch (Lin 2017)."""

    type: Literal["two_fc"] = "two_fc"
    channels: Count = 1024
    """Width of both layers."""


class ConvFcHeadConfig(HeadConfig):
    """Convolutions, then one fully connected layer (torchvision's v2 models)."""

    type: Literal["conv_fc"] = "conv_fc"
    num_convs: Count = 4
    """Number of 3x3 convolutions."""
    conv_channels: Count = 256
    """Width of the convolutions."""
    channels: Count = 1024
    """Width of the fully connected layer."""
    norm: Literal["none", "trainable", "sync"] = "trainable"
    """Batch normalisation after each convolution."""


# The layers behind a backbone's last map, as heads; each family says which.
OWN_HEADS = tuple(dict.fromkeys(family.head for family in FAMILIES))

if TYPE_CHECKING:
    AnyHeadConfig: TypeAlias = HeadConfig | CustomConfig
else:
    AnyHeadConfig = one_of((*OWN_HEADS, TwoFcHeadConfig, ConvFcHeadConfig, CustomConfig))


def require_wiring(backbone: AnyBackboneConfig, neck: AnyNeckConfig, head: AnyHeadConfig) -> None:
    """Check that the parts of a detector with regions can be joined.

    Whether a backbone of the user's own goes with a head is seen when it is built.

    Raises:
        ValueError: they cannot; the message names the parts that can.
    """
    pyramid = isinstance(neck, FPNConfig)
    family, owners = family_named(backbone.type), owners_of(head.type)
    if pyramid and family and not family.has_pyramid:
        able = any_of(other for other in FAMILIES if other.has_pyramid)
        raise ValueError(f"neck: fpn needs a backbone with four stages: {able}, not {family.name}")
    if pyramid and getattr(backbone, "uses_last_stage", False):
        raise ValueError(
            "neck: fpn takes the maps of all stages, of which dc5 gives the last alone; remove one"
        )
    if owners and getattr(backbone, "uses_last_stage", False):
        raise ValueError(f"head: {head.type} is what dc5 puts before the regions; take two_fc or conv_fc")
    if owners and (not isinstance(neck, NoNeckConfig) or (family and family not in owners)):
        raise ValueError(f"head: {head.type} needs backbone: {any_of(owners)} and neck: none")


def reads_pyramid(backbone: AnyBackboneConfig, neck: AnyNeckConfig) -> bool:
    """Return whether a backbone gives the maps of all its stages, or its last map alone.

    A neck of the user's own gets all that the backbone can give.
    """
    if isinstance(neck, CustomConfig):
        family = family_named(backbone.type)
        return family is not None and family.has_pyramid
    return isinstance(neck, FPNConfig)
