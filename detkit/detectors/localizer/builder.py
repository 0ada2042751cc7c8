"""A localizer of a config -> the model."""

from __future__ import annotations

from detkit.detectors.localizer.config import LocalizerConfig
from detkit.detectors.localizer.model import Localizer, RegressionHead, Trunk
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import family_of
from detkit.models.backbones.tails import build_tail

STRIDE = 32  # of the last convolution's map, where a network has no fc6 that says how large it is


def build_localizer(spec: LocalizerConfig, num_classes: int, on_weights: OnWeights | None) -> Localizer:
    """Return the localizer of a config; see `DetectorFamily`."""
    how = spec.regression
    trunk = build_trunk(spec, num_classes, on_weights)
    boxes = build_head(spec, trunk, num_sets=1 if how.class_agnostic else num_classes, num_values=4)
    return Localizer(
        trunk,
        boxes,
        size_px=spec.size_px,
        class_agnostic=how.class_agnostic,
        beta=how.beta if how.loss == "smooth_l1" else None,
        loss_weight=how.loss_weight,
        top=spec.top,
    )


def build_trunk(spec: LocalizerConfig, num_classes: int, on_weights: OnWeights | None) -> Trunk:
    """Return the network of a config with its pretrained weights."""
    backbone = build_backbone(spec.backbone, pyramid=False, crops=True)
    tail = build_tail(spec.backbone, backbone, spec.dropout, num_classes)
    if on_weights is not None and spec.backbone.weights != "none":
        rest = {f"{name}.": part for name, part in tail.named_children()}
        on_weights(load_pretrained(spec.backbone, {"": backbone, **rest}))
    return Trunk(backbone, tail)


def build_head(spec: LocalizerConfig, trunk: Trunk, *, num_sets: int, num_values: int) -> RegressionHead:
    """Return a head that regresses sets of numbers."""
    fc = family_of(spec.backbone).fc
    return RegressionHead(
        trunk.tail,
        attach=spec.regression.attach,
        cells=fc.cells if fc is not None else max(1, spec.size_px // STRIDE),
        channels=spec.regression.channels,
        dropout=spec.dropout,
        num_sets=num_sets,
        num_values=num_values,
    )
