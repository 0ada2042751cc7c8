"""GoogLeNet's part of the YAML: the backbone, and the head made of its last stage."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.roi.head_config import HeadConfig


class GoogLeNetConfig(BackboneConfig):
    """GoogLeNet (Szegedy 2015) with batch normalisation, up to inception4e, stride 16."""

    type: Literal["googlenet"] = "googlenet"
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


class Inception5HeadConfig(HeadConfig):
    """GoogLeNet's own last stage on every region, then a mean over it."""

    type: Literal["inception5"] = "inception5"
