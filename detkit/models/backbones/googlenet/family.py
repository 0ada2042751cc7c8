"""GoogLeNet's part of the YAML, the backbone and the head made of its last stage, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, LastStage
from detkit.models.backbones.width import scaled
from detkit.models.roi.head_config import HeadConfig

# Channels of conv3 and of the four branches of inception3b, inception4e and inception5b.
BRANCHES = ((192,), (128, 192, 96, 64), (256, 320, 128, 128), (384, 384, 128, 128))


class GoogLeNetConfig(BackboneConfig):
    """GoogLeNet (Szegedy 2015) with batch normalisation, up to inception4e, stride 16."""

    type: Literal["googlenet"] = "googlenet"
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


class Inception5HeadConfig(HeadConfig):
    """GoogLeNet's own last stage on every region, then a mean over it."""

    type: Literal["inception5"] = "inception5"


def channels(spec: GoogLeNetConfig) -> tuple[int, ...]:
    """Return the channels of conv3, inception3b, inception4e and inception5b."""
    return tuple(sum(scaled(full, spec.width) for full in branches) for branches in BRANCHES)


GOOGLENET = BackboneFamily(
    config=GoogLeNetConfig,
    network="detkit.models.backbones.googlenet.network:GoogLeNet",
    strides=(4, 8, 16, 32),
    channels=channels,
    # Its poolings are not padded at the left, so each shifts the map by a part of a cell.
    cell_offset=(2.5 / 4, 6.5 / 8, 14.5 / 16, 22.5 / 32),
    behind=LastStage(
        make="detkit.models.backbones.googlenet.network:make_stage",
        parts={"inception5a.": "inception5a", "inception5b.": "inception5b"},
        pooled=True,
    ),
    head=Inception5HeadConfig,
    classifier_dropout=0.4,
)
