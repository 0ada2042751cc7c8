"""Where to look: the region proposal network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from detkit.models.roi.head_config import NormalizeBy
from detkit.spec import Count, CustomConfig, Fraction, NonNegative, Positive, Spec

Over = Literal["image", "padding", "batch"]
Sizes = Annotated[tuple[Positive, ...], Field(min_length=1)]


class AnchorsConfig(Spec):
    """Reference boxes laid on every cell of the feature maps."""

    sizes_px: Annotated[tuple[Sizes, ...], Field(min_length=1)] = ((128.0, 256.0, 512.0),)
    """Sizes (square roots of areas) for each feature map, finest first, in pixels of the resized image."""
    ratios: Sizes = (0.5, 1.0, 2.0)
    """Height over width."""
    rounding: Literal["base", "corners", "none"] = "base"
    """`base` rounds the sides of a 16-px anchor and scales it up (Ren 2015: 184x96, not 181x91),
    `corners` rounds the corners (torchvision), `none` keeps the exact values (detectron2)."""
    offset: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Where in its cell an anchor is centred: 0.5 the middle (the paper), 0 the corner (torchvision)."""
    over: Over = "image"
    """`image` lays anchors on the cells of each image, `padding` on those of its padding, too (detectron2,
    MMDetection). `batch` spreads the latter over the padded batch: a cell's sides are those of the batch over
    the number of cells, rounded down (torchvision)."""


class RPNConfig(Spec):
    """Region proposal network (Ren 2015)."""

    type: Literal["rpn"] = "rpn"
    anchors: AnchorsConfig = AnchorsConfig()
    """Reference boxes."""
    channels: Annotated[int, Field(ge=0)] = 512
    """Channels of the 3x3 convolution (512 for VGG); 0 takes as many as the feature map has."""
    num_convs: Count = 1
    """Number of 3x3 convolutions before the two outputs."""
    objectness: Literal["sigmoid", "softmax"] = "sigmoid"
    """`sigmoid` has one output for each anchor (torchvision), `softmax` two, of background and object (the
    paper), which learn their difference at twice the speed."""
    border_px: NonNegative | None = 0.0
    """Anchors that reach farther than this outside the image take no part in training (the paper: 0);
    null lets all take part."""
    fg_iou: Fraction = 0.7
    """An anchor is positive from this IoU on; the best anchors of each object always are."""
    bg_iou: Fraction = 0.3
    """An anchor is negative below this IoU."""
    crowd_iou: Fraction = 0.7
    """Leave out negative anchors that lie in a crowd by more than this share of their area; 1 keeps all."""
    batch_per_image: Count = 256
    """Anchors drawn from each image for training."""
    fg_fraction: Fraction = 0.5
    """At most this share of them is positive."""
    beta: NonNegative = 1 / 9
    """Where smooth L1 turns from a square into a line; 0 is plain L1."""
    box_loss_weight: NonNegative = 1.0
    """Weight of the box loss beside the objectness loss."""
    normalize_by: NormalizeBy = "sampled"
    """What the sums of the losses are divided by: `sampled`, the anchors drawn in each image, then the
    mean over images; `batch_size`, `batch_per_image` even where fewer were drawn; `batch`, the anchors
    drawn in the whole batch of one process (torchvision)."""
    pre_nms_train: Count = 12000
    """Best boxes kept before non-maximum suppression in training (of each feature map)."""
    post_nms_train: Count = 2000
    """Best boxes kept after it in training (of each image)."""
    pre_nms_test: Count = 6000
    """Best boxes kept before non-maximum suppression otherwise (of each feature map)."""
    post_nms_test: Count = 300
    """Best boxes kept after it otherwise (of each image)."""
    score_threshold: Fraction = 0.0
    """Boxes whose objectness is below this are dropped before non-maximum suppression (torchvision)."""
    nms_iou: Fraction = 0.7
    """Boxes that overlap a better one by more than this are dropped (on each feature map alone)."""
    min_size_px: NonNegative = 16.0
    """Proposals with a shorter side, in pixels of the resized image, are dropped before the best are counted.
    The paper takes 16."""

    @model_validator(mode="after")
    def _iou_bands_meet(self) -> RPNConfig:
        if self.bg_iou > self.fg_iou:
            raise ValueError(f"bg_iou ({self.bg_iou}) must not exceed fg_iou ({self.fg_iou})")
        return self


AnyRPNConfig = Annotated[RPNConfig | CustomConfig, Field(discriminator="type")]
