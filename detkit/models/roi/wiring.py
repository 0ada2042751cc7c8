"""Which backbones, necks and heads go together, and the defaults that hang on them."""

from __future__ import annotations

from detkit.models.backbones.config import (
    AlexNetConfig,
    AnyBackboneConfig,
    GoogLeNetConfig,
    ResNetConfig,
    ZFNetConfig,
)
from detkit.models.necks.config import AnyNeckConfig, FPNConfig
from detkit.models.roi.config import AnyHeadConfig, Fc6Fc7HeadConfig, Inception5HeadConfig, Layer4HeadConfig
from detkit.spec import CustomConfig


def require_wiring(backbone: AnyBackboneConfig, neck: AnyNeckConfig, head: AnyHeadConfig) -> None:
    """Check that the parts of a detector with regions can be joined.

    Raises:
        ValueError: they cannot; the message names the parts that can.
    """
    pyramid = isinstance(neck, FPNConfig)
    if pyramid and isinstance(backbone, AlexNetConfig | ZFNetConfig):
        raise ValueError(
            f"neck: fpn needs a backbone with four stages: resnet, vgg or googlenet, not {backbone.type}"
        )
    if isinstance(head, Layer4HeadConfig) and (
        pyramid or not isinstance(backbone, ResNetConfig | CustomConfig)
    ):
        raise ValueError("head: layer4 needs backbone: resnet and neck: none (the C4 wiring)")
    if isinstance(head, Inception5HeadConfig) and (pyramid or not isinstance(backbone, GoogLeNetConfig)):
        raise ValueError("head: inception5 needs backbone: googlenet and neck: none")
    if isinstance(head, Fc6Fc7HeadConfig) and (
        pyramid or isinstance(backbone, ResNetConfig | GoogLeNetConfig)
    ):
        raise ValueError("head: fc6_fc7 needs backbone: vgg, alexnet or zfnet and neck: none")
