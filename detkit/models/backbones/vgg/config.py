"""VGG's part of the YAML."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm


class VGGConfig(BackboneConfig):
    """VGG (Simonyan and Zisserman 2015) up to conv5, stride 16."""

    type: Literal["vgg"] = "vgg"
    depth: Literal[11, 13, 16, 19] = 16
    """Number of layers with weights."""
    batch_norm: bool = False
    """Batch normalisation after every convolution."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""
