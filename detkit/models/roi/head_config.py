"""The keys that heads have in common, which the heads of backbones' last stages build upon."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from detkit.spec import Count, Fraction, NonNegative, Positive, Spec

NormalizeBy = Literal["sampled", "batch_size", "batch"]


class HeadConfig(Spec):
    """The keys that every head of detkit's own has."""

    type: str
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
    soft_nms: Literal["linear", "gaussian"] | None = None
    """Lower the scores of boxes that overlap a better one of their class, instead of dropping the boxes
    (Bodla et al. 2017): `linear` by the IoU where it is above `nms_iou`, `gaussian` by a Gaussian of it."""
    soft_nms_sigma: Positive = 0.5
    """Of that Gaussian."""
    detections_per_image: Count = 100
    """At most this many detections an image, best first."""

    @model_validator(mode="after")
    def _background_is_a_band(self) -> Self:
        low, high = self.bg_iou
        if not low <= high <= self.fg_iou:
            raise ValueError(f"bg_iou ([{low}, {high}]) must rise, and end at fg_iou ({self.fg_iou}) at most")
        return self


class FcHeadConfig(HeadConfig):
    """The keys of a head with fc6 and fc7."""

    fc6_rank: Count | None = None
    """Make fc6 of two thin layers with so many channels between them, by the singular value decomposition of
    the pretrained one (1024 in Fast R-CNN, `detkit compress`); null is one whole layer."""
    fc7_rank: Count | None = None
    """The same of fc7 (256 in Fast R-CNN)."""


class Fc6Fc7HeadConfig(FcHeadConfig):
    """The two fully connected layers of AlexNet, CaffeNet, ZFNet or VGG, with their pretrained weights."""

    type: Literal["fc6_fc7"] = "fc6_fc7"
    dropout: Fraction = 0.5
    """Share of activations dropped after each layer in training."""


class LastStageHeadConfig(HeadConfig):
    """The last stage of a MobileNet or EfficientNet on every region, then a mean over it."""

    type: Literal["last_stage"] = "last_stage"
