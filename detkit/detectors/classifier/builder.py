"""A classifier of a config -> the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from detkit.detectors.classifier import model as classifier
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.classifier.tails import FcTail, StageTail
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import family_of
from detkit.models.backbones.family import FcLayers


def build_classifier(
    spec: ClassifierConfig, num_classes: int, on_weights: OnWeights | None
) -> classifier.Classifier:
    """Return a classifier.

    Args:
        spec: the config's `detector`.
        num_classes: K.
        on_weights: called with what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or nothing in them fits.
    """
    backbone = build_backbone(spec.backbone, pyramid=False)
    tail = _tail(spec, backbone, num_classes)
    if on_weights is not None and spec.backbone.weights != "none":
        rest = {f"{name}.": part for name, part in tail.named_children()}
        on_weights(load_pretrained(spec.backbone, {"": backbone, **rest}))
    return classifier.Classifier(
        backbone,
        tail,
        crop_px=spec.crop_px,
        crops=spec.views.crops,
        scales=spec.views.scales,
        label_smoothing=spec.label_smoothing,
        top=spec.top,
    )


def _tail(spec: ClassifierConfig, backbone: nn.Module, num_classes: int) -> FcTail | StageTail:
    family = family_of(spec.backbone)
    behind = family.behind
    if isinstance(behind, FcLayers):
        return FcTail(
            cast(Sequence[int], backbone.channels)[-1],
            behind.cells,
            channels=cast(int, backbone.fc_channels),
            dropout_first=behind.dropout_first,
            dropout=spec.dropout,
            num_classes=num_classes,
        )
    stage = family.build_last_stage(spec.backbone)
    return StageTail(
        {key.removesuffix("."): stage.get_submodule(part) for key, part in behind.parts.items()},
        pooled=behind.pooled,
        channels=family.channels(spec.backbone)[-1],
        dropout=spec.dropout,
        num_classes=num_classes,
    )
