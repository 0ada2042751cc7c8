"""How features of a region are taken from the map (what is there), and the heads that decide."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from detkit.spec import Count, CustomConfig, Fraction, Index, NonNegative, Positive, Spec


class RoIPoolConfig(Spec):
    """Max over a grid of integer bins (Girshick 2015)."""

    type: Literal["roi_pool"] = "roi_pool"
    size: Count = 7
    """Bins along each side."""


class RoIAlignConfig(Spec):
    """Mean of bilinear samples without rounding (He 2017)."""

    type: Literal["roi_align"] = "roi_align"
    size: Count = 7
    """Bins along each side."""
    sampling_ratio: Index = 2
    """Samples along each side of a bin; 0 takes as many as the bin has cells."""
    aligned: bool = True
    """Shift by half a cell so that a sample sits at the centre of what it stands for; torchvision's
    models were trained without."""


AnyRegionsConfig = Annotated[RoIPoolConfig | RoIAlignConfig, Field(discriminator="type")]

NormalizeBy = Literal["sampled", "batch_size", "batch"]


class HeadConfig(Spec):
    batch_per_image: Count = 128
    """Regions drawn from each image for training (128 in Faster R-CNN, 512 with FPN)."""
    fg_fraction: Fraction = 0.25
    """At most this share of them holds an object."""
    fg_iou: Fraction = 0.5
    """A region holds an object from this IoU on."""
    bg_iou: tuple[Fraction, Fraction] = (0.0, 0.5)
    """A region is background in [low, high). Fast R-CNN took low 0.1 (a cheap way to prefer hard
    examples); Faster R-CNN's end-to-end training takes 0."""
    add_ground_truth: bool = True
    """Add the labelled boxes to the regions during training."""
    crowd_iou: Fraction = 0.7
    """Leave out background regions that lie in a crowd by more than this share of their area; 1 keeps all."""
    class_agnostic: bool = False
    """One box regression for all classes instead of one for each."""
    box_weights: tuple[Positive, Positive, Positive, Positive] = (10.0, 10.0, 5.0, 5.0)
    """Scale of the regression targets dx, dy, dw, dh: one over their expected standard deviation."""
    box_targets: Literal["fixed", "measured"] = "fixed"
    """What the box regression learns in units of: `fixed`, `box_weights` alone; `measured`, the mean and
    the deviation of each class and coordinate over all regions of the training set that hold an object, as
    Fast R-CNN did, which needs proposals that are known beforehand. Model files hold the same either way."""
    beta: NonNegative = 1.0
    """Where smooth L1 turns from a square into a line, in units of the scaled targets; 0 is plain L1."""
    box_loss_weight: NonNegative = 1.0
    """Weight of the box loss beside the classification loss."""
    normalize_by: NormalizeBy = "sampled"
    """What the sums of the losses are divided by: `sampled`, the regions drawn in each image, then the
    mean over images; `batch_size`, `batch_per_image` even where fewer were drawn; `batch`, the regions
    drawn in the whole batch of one process (torchvision)."""
    score_threshold: Fraction = 0.05
    """Detections below this score are not reported."""
    nms_iou: Fraction = 0.3
    """Non-maximum suppression within a class: 0.3 in the papers, 0.5 with FPN."""
    detections_per_image: Count = 100
    """At most this many detections an image, best first."""

    @model_validator(mode="after")
    def _background_is_a_band(self) -> Self:
        low, high = self.bg_iou
        if not low <= high <= self.fg_iou:
            raise ValueError(f"bg_iou ([{low}, {high}]) must rise, and end at fg_iou ({self.fg_iou}) at most")
        return self


class Layer4HeadConfig(HeadConfig):
    """The ResNet's own last stage on every region, then a mean over it (He 2016, the C4 wiring)."""

    type: Literal["layer4"] = "layer4"


class Inception5HeadConfig(HeadConfig):
    """GoogLeNet's own last stage on every region, then a mean over it."""

    type: Literal["inception5"] = "inception5"


class _FcHeadConfig(HeadConfig):
    fc6_rank: Count | None = None
    """Make fc6 of two thin layers with so many channels between them, by the singular value decomposition of
    the pretrained one (1024 in Fast R-CNN, `detkit compress`); null is one whole layer."""
    fc7_rank: Count | None = None
    """The same of fc7 (256 in Fast R-CNN)."""


class Fc6Fc7HeadConfig(_FcHeadConfig):
    """The two fully connected layers of AlexNet, ZFNet or VGG, with their pretrained weights."""

    type: Literal["fc6_fc7"] = "fc6_fc7"
    dropout: Fraction = 0.5
    """Share of activations dropped after each layer in training."""


class TwoFcHeadConfig(_FcHeadConfig):
    """Two fully connected layers from scratch (Lin 2017)."""

    type: Literal["two_fc"] = "two_fc"
    channels: Count = 1024
    """Width of both layers."""


class ConvFcHeadConfig(HeadConfig):
    """Convolutions, then one fully connected layer (torchvision's v2 models)."""

    type: Literal["conv_fc"] = "conv_fc"
    num_convs: Count = 4
    """Number of 3x3 convolutions."""
    conv_channels: Count = 256
    """Width of the convolutions."""
    channels: Count = 1024
    """Width of the fully connected layer."""
    norm: Literal["none", "trainable", "sync"] = "trainable"
    """Batch normalisation after each convolution."""


AnyHeadConfig = Annotated[
    Layer4HeadConfig
    | Inception5HeadConfig
    | Fc6Fc7HeadConfig
    | TwoFcHeadConfig
    | ConvFcHeadConfig
    | CustomConfig,
    Field(discriminator="type"),
]
