"""A classifier of a config -> the model."""

from __future__ import annotations

from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.classifier.model import Classifier
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.tails import build_tail


def build_classifier(spec: ClassifierConfig, num_classes: int, on_weights: OnWeights | None) -> Classifier:
    """Return the classifier of a config; see `DetectorFamily`."""
    backbone = build_backbone(spec.backbone, pyramid=False, crops=True)
    tail = build_tail(spec.backbone, backbone, spec.dropout, num_classes)
    if on_weights is not None and spec.backbone.weights != "none":
        rest = {f"{name}.": part for name, part in tail.named_children()}
        on_weights(load_pretrained(spec.backbone, {"": backbone, **rest}))
    return Classifier(
        backbone,
        tail,
        crop_px=spec.crop_px,
        crops=spec.views.crops,
        scales=spec.views.scales,
        label_smoothing=spec.label_smoothing,
        top=spec.top,
    )
