"""OverFeat's part of a config."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from detkit.detectors.config import ChooseAnchors, DetectorConfig, Refused
from detkit.models.backbones.alexnet.family import AlexNetConfig
from detkit.models.backbones.families import AnyBackboneConfig, family_named
from detkit.spec import Count, Fraction, NonNegative, Positive, Spec

PAPERS_SHORT_PX = (245, 281, 317, 389, 425, 461)
PAPERS_CELLS = 5

_STRIDE_PX = 16  # of the last map of every published backbone
_MOST_SCALE = 2.0  # a larger copy costs more than the objects that it shows are worth


class DenseWindowsConfig(Spec):
    """Every window of copies of an image in several sizes."""

    type: Literal["dense_windows"] = "dense_windows"
    scales: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=16)] = tuple(
        round(short_px / PAPERS_SHORT_PX[-1], 4) for short_px in PAPERS_SHORT_PX
    )
    """Sizes of the copies, as factors of the image that comes (`data.resize`), rising. The paper's six, whose
    short sides are 245 to 461 px, as shares of the largest."""

    @field_validator("scales")
    @classmethod
    def _rise(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if list(scales) != sorted(set(scales)):
            raise ValueError(f"scales must rise, got {list(scales)}")
        return scales


class OffsetPoolConfig(Spec):
    """The last pooling of the network at every offset, so that a window begins at every cell of the map."""

    type: Literal["offset_pool"] = "offset_pool"
    size: Annotated[int, Field(ge=1, le=8)] = 3
    """Cells along each side of what is pooled."""
    stride: Annotated[int, Field(ge=1, le=8)] = 3
    """Cells between two poolings of a window. At as many offsets of each side the map is pooled."""
    cells: Annotated[int, Field(ge=1, le=16)] | None = None
    """Pooled cells along each side of a window. `null` takes those of the backbone's own fc6, and 5, the
    paper's, where it has none. Other ones make fc6 and fc7 new layers."""
    fine_stride: bool = True
    """Pool at all offsets; `false` pools at the first alone, as the network does while it is trained to
    classify, and windows are `stride` cells apart."""


class DenseSoftmaxConfig(Spec):
    """Fully connected layers at every window, their softmax and a network of boxes, merged by averaging."""

    type: Literal["dense_softmax"] = "dense_softmax"
    channels: Count | None = None
    """Width of fc6 and fc7 of the classes. `null` takes that of the backbone's own, and 4096, the paper's
    fc7, where it has none."""
    box_channels: tuple[Count, Count] = (4096, 1024)
    """Widths of the two layers of the boxes, which begin at the same pooled map."""
    dropout: Fraction = 0.5
    """Share of activations dropped after each of these layers in training."""
    per_class_boxes: bool = False
    """A box of each class instead of one for all; the paper found one for all to be better."""
    boxes_train_backbone: bool = False
    """Let the loss of the boxes change the backbone, too; the paper trains them on a finished map."""
    batch_per_image: Count = 64
    """Windows of an image that train."""
    fg_fraction: Fraction = 0.5
    """At most this share of them shows an object."""
    fg_iou: Fraction = 0.5
    """A window shows an object from this IoU on, and the nearest windows of each object at any."""
    bg_iou: Fraction = 0.3
    """A window is background below this IoU with every object."""
    negatives: Literal["hardest", "random"] = "hardest"
    """Which of them train: those that look most like an object now, or any."""
    box_overlap: Fraction = 0.5
    """A window trains the box of its object if so much of the object lies in it."""
    box_loss_weight: NonNegative = 1.0
    """Weight of the loss of the boxes, in squared sides of the window."""
    score_threshold: Fraction = 0.05
    """Windows below this score of a class have no box of it."""
    windows_per_class: Count = 300
    """At most so many windows of an image have a box of a class, the best."""
    merge_below: NonNegative = 0.5
    """Two boxes of a class become one, their average, up to this match score: the distance of their centres
    in sides, and the share of their area that the intersection lacks."""
    detections_per_image: Count = 100
    """At most this many boxes of an image are reported, the best."""


class OverFeatConfig(DetectorConfig):
    """OverFeat (Sermanet 2014): a classifier and a network of boxes at every window of several sizes."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)
    refused: ClassVar[Refused] = {
        "proposals": {
            **dict.fromkeys(
                ("selective_search", "edge_boxes", "file"), "is fast_rcnn, on regions of one map, or rcnn"
            ),
            "rpn": "is faster_rcnn",
            "sliding_window": "is rcnn: every window is a crop of its own",
        }
    }

    type: Literal["overfeat"] = "overfeat"
    backbone: AnyBackboneConfig = Field(default_factory=AlexNetConfig)
    """The network that reads the image in each of its sizes."""
    proposals: DenseWindowsConfig = DenseWindowsConfig()
    """Where to look."""
    regions: OffsetPoolConfig = OffsetPoolConfig()
    """What is there."""
    head: DenseSoftmaxConfig = DenseSoftmaxConfig()
    """What is it, and where exactly."""

    @property
    def cells(self) -> int:
        """Pooled cells along each side of a window."""
        return self.regions.cells or self._own_cells or PAPERS_CELLS

    @property
    def has_own_layers(self) -> bool:
        """Whether fc6 and fc7 are those of the backbone's published network."""
        return self._own_cells == self.cells and self.head.channels is None

    @property
    def _own_cells(self) -> int | None:
        family = family_named(self.backbone.type)
        return family.fc.cells if family is not None and family.fc else None

    def with_anchors(self, choose: ChooseAnchors) -> Self:
        """Return the config with a scale for each size of anchors, at which a window is as large."""
        ((sizes_px,), _) = choose(1)
        window_px = _STRIDE_PX * (self.regions.size + (self.cells - 1) * self.regions.stride)
        scales = sorted({min(round(window_px / side, 3), _MOST_SCALE) for side in sizes_px})
        proposals: dict[str, Any] = {"proposals": DenseWindowsConfig(scales=tuple(scales))}
        return self.model_copy(update=proposals)
