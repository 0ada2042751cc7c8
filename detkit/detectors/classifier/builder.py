"""A classifier of a config -> the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never, cast

from torch import nn

from detkit.detectors.classifier import model as classifier
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.classifier.tails import FcTail, StageTail, googlenet_tail, resnet_tail
from detkit.detectors.rcnn.network_builder import FC6_CELLS
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, is_frozen, load_pretrained
from detkit.models.backbones.config import (
    AlexNetConfig,
    GoogLeNetConfig,
    ResNetConfig,
    VGGConfig,
    ZFNetConfig,
)
from detkit.models.backbones.googlenet.network import LAST as LAST_INCEPTION
from detkit.models.backbones.resnet.network import LAST
from detkit.models.backbones.sequential import SequentialBackbone


def build_classifier(
    spec: ClassifierConfig, num_classes: int, on_weights: OnWeights | None
) -> classifier.Classifier:
    """Return a classifier.

    Args:
        spec: the config's `detector`.
        num_classes: K.
        on_weights: told what became of pretrained weights; None leaves them unread.

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
    own = spec.backbone
    channels = cast(Sequence[int], backbone.channels)[-1]
    match own:
        case AlexNetConfig() | ZFNetConfig() | VGGConfig():
            assert isinstance(backbone, SequentialBackbone)
            return FcTail(
                channels,
                FC6_CELLS[own.type],
                channels=backbone.fc_channels,
                fc_keys=backbone.fc_keys,
                dropout=spec.dropout,
                num_classes=num_classes,
            )
        case GoogLeNetConfig():
            return googlenet_tail(
                channels,
                width=own.width,
                norm=own.norm,
                frozen=is_frozen(own, LAST_INCEPTION),
                dropout=spec.dropout,
                num_classes=num_classes,
            )
        case ResNetConfig():
            return resnet_tail(
                depth=own.depth,
                width=own.width,
                norm=own.norm,
                frozen=is_frozen(own, LAST),
                dropout=spec.dropout,
                num_classes=num_classes,
            )
        case _:
            assert_never(own)
