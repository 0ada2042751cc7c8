"""VGG's part of the YAML, and its record."""

from __future__ import annotations

from typing import Literal

from detkit.models.backbones.config import BackboneConfig, Norm
from detkit.models.backbones.family import BackboneFamily, FcLayers
from detkit.models.backbones.width import scaled


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
    ceil_mode: bool = False
    """Poolings round the size of a map up, as Caffe's do, instead of down: 600 pixels become 38 cells of
    conv5, not 37."""


VGG = BackboneFamily(
    config=VGGConfig,
    network="detkit.models.backbones.vgg.network:VGG",
    strides=(4, 8, 16, 32),
    # conv3, conv4, conv5 and pool5.
    channels=lambda spec: tuple(scaled(full, spec.width) for full in (256, 512, 512, 512)),
    cell_offset=(0.5, 0.5, 0.5, 0.5),
    behind=FcLayers(cells=7, keys=("classifier.0.", "classifier.3."), dropout_first=False),
    published={f"vgg{depth}": {"depth": depth} for depth in (11, 13, 16, 19)},
    classifier_dropout=0.5,
)
