"""Which backbones, necks and heads go together, and the defaults that hang on them."""

from __future__ import annotations

from detkit.models.backbones.families import FAMILIES, AnyBackboneConfig, any_of, family_named, owners_of
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig
from detkit.spec import CustomConfig


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
