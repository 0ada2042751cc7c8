"""Which backbones, necks and heads go together, and the defaults that hang on them."""

from __future__ import annotations

from detkit.models.backbones.families import FAMILIES, AnyBackboneConfig, any_of, family_named, owners_of
from detkit.models.necks.config import AnyNeckConfig, FPNConfig
from detkit.models.roi.config import AnyHeadConfig


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
    if owners and (pyramid or (family and family not in owners)):
        raise ValueError(f"head: {head.type} needs backbone: {any_of(owners)} and neck: none")
