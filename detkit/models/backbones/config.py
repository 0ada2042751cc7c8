"""Which convolutional network reads the image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.spec import CustomConfig, Spec

Norm = Literal["frozen", "sync", "trainable"]


class BackboneConfig(Spec):
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Multiplies the number of channels of every layer; 1 is the published size."""
    weights: str = "none"
    """`none`, a torchvision weights name such as IMAGENET1K_V1 (downloaded when first used), or a file."""
    freeze_at: Annotated[int, Field(ge=0, le=5)] = 2
    """How many stages from the input on stay as they are; 0 trains everything. Without weights nothing
    is frozen: it would be noise."""


class AlexNetConfig(BackboneConfig):
    """AlexNet (Krizhevsky 2012, in torchvision's one-tower form): conv1 to conv5, stride 16."""

    type: Literal["alexnet"] = "alexnet"
    freeze_at: Annotated[int, Field(ge=0, le=5)] = 1
    """How many convolutions from the input on stay as they are (Fast R-CNN freezes conv1)."""


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


class ResNetConfig(BackboneConfig):
    """ResNet (He 2016) with torchvision's stride in the 3x3 convolution."""

    type: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50, 101, 152] = 50
    """Number of layers with weights."""
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


class ZFNetConfig(BackboneConfig):
    """ZFNet (Zeiler and Fergus 2014, as in SPP-net and Faster R-CNN): conv1 to conv5, stride 16."""

    type: Literal["zfnet"] = "zfnet"
    freeze_at: Annotated[int, Field(ge=0, le=5)] = 1
    """How many convolutions from the input on stay as they are."""


class GoogLeNetConfig(BackboneConfig):
    """GoogLeNet (Szegedy 2015) with batch normalisation, up to inception4e, stride 16."""

    type: Literal["googlenet"] = "googlenet"
    norm: Norm = "frozen"
    """What batch normalisation does: `frozen` keeps the statistics and the scale, `trainable` learns
    them from each process's batch, `sync` from the batch of all processes."""


PublishedBackboneConfig = AlexNetConfig | ZFNetConfig | VGGConfig | GoogLeNetConfig | ResNetConfig

AnyBackboneConfig = Annotated[PublishedBackboneConfig | CustomConfig, Field(discriminator="type")]
