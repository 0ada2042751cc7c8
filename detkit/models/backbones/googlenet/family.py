"""GoogLeNet's record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.googlenet.config import GoogLeNetConfig, Inception5HeadConfig
from detkit.models.backbones.width import scaled

if TYPE_CHECKING:
    from torch import nn

STAGES = 5

# Channels of conv3 and of the four branches of inception3b, inception4e and inception5b.
BRANCHES = ((192,), (128, 192, 96, 64), (256, 320, 128, 128), (384, 384, 128, 128))


def build_googlenet(spec: GoogLeNetConfig, pyramid: bool) -> nn.Module:
    """Return a GoogLeNet from scratch, with one map or four."""
    from detkit.models.backbones.googlenet.network import GoogLeNet

    return GoogLeNet(width=spec.width, norm=spec.norm, freeze_at=spec.frozen_stages, pyramid=pyramid)


def build_inception5(spec: GoogLeNetConfig) -> nn.Module:
    """Return the last stage from scratch."""
    from detkit.models.backbones.googlenet.network import Inception5

    frozen = spec.frozen_stages >= STAGES
    return Inception5(channels(spec)[-2], width=spec.width, norm=spec.norm, frozen=frozen)


def channels(spec: GoogLeNetConfig) -> tuple[int, ...]:
    """Return the channels of conv3, inception3b, inception4e and inception5b."""
    return tuple(sum(scaled(full, spec.width) for full in branches) for branches in BRANCHES)


GOOGLENET = BackboneFamily(
    config=GoogLeNetConfig,
    build=build_googlenet,
    strides=(4, 8, 16, 32),
    channels=channels,
    # Its poolings are not padded at the left, so each shifts the map by a part of a cell.
    cell_offset=(2.5 / 4, 6.5 / 8, 14.5 / 16, 22.5 / 32),
    behind=LastStage(
        build=build_inception5,
        parts={"inception5a.": "inception5a", "inception5b.": "inception5b"},
        pooled=True,
    ),
    head=Inception5HeadConfig,
    classifier_dropout=0.4,
    stages=STAGES,
)
