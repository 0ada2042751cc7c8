"""HOG + SVM's part of a config, and its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig, Refused, Values
from detkit.models.roi.decision_config import SVMConfig
from detkit.spec import Count, Fraction, Index, NonNegative, Positive, Spec, fill
from detkit.training.config import TrainConfig

if TYPE_CHECKING:
    from detkit.annotations.keypoints import KeypointLayout

Window = tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]]


class ImagePyramidConfig(Spec):
    """Windows of one size for each class, over the image and smaller copies of it."""

    type: Literal["pyramid"] = "pyramid"
    scale_step: Annotated[float, Field(gt=1)] = 1.05
    """By so much each copy is smaller than the one before."""
    max_levels: Count = 64
    """Most copies, with the image itself."""
    padding_px: Index = 8
    """Windows begin so far outside each copy, which is mirrored there; rounded up to `regions.stride_px`."""


class HOGConfig(Spec):
    """Histograms of oriented gradients, normalised in overlapping blocks."""

    type: Literal["hog"] = "hog"
    windows: tuple[Window, ...] | None = None
    """Width and height in pixels of each class's window, in the order of `data.classes`. Null takes the shape
    of the class's objects, and 64 x 128 pixels as area; a model file has the sizes with its weights."""
    context_px: Index = 16
    """Pixels of the window around the object, on every side; what is reported is the window without them."""
    cell_px: Annotated[int, Field(ge=2)] = 8
    """Side of a cell."""
    block_cells: Count = 2
    """Cells along each side of a block, which is normalised as a whole."""
    stride_px: Count = 8
    """Pixels from block to block, and from window to window."""
    bins: Annotated[int, Field(ge=2, le=255)] = 9
    """Orientations of a cell."""
    signed: bool = False
    """Whether opposite directions are two orientations."""
    gamma: bool = True
    """Take the square root of pixel values first."""
    sigma_px: Positive = 4.0
    """Deviation of the Gaussian that weights a block's pixels: OpenCV's; the paper has 8."""
    clip: Positive = 0.2
    """Largest value of a normalised block, which is normalised once more."""

    @model_validator(mode="after")
    def _windows_hold_blocks_and_objects(self) -> HOGConfig:
        block_px = self.cell_px * self.block_cells
        for window in self.windows or ():
            for side in window:
                if side < block_px or (side - block_px) % self.stride_px:
                    raise ValueError(
                        f"windows: sides must be a block's {block_px} pixels and a multiple of stride_px "
                        f"({self.stride_px}) more, got {side}"
                    )
                if side <= 2 * self.context_px:
                    raise ValueError(f"windows: a side of {side} leaves no room in context_px on both sides")
        return self


class WindowSVMConfig(SVMConfig):
    """One linear SVM a class on the window's HOG, fitted with hard negatives.

    A score is the logistic function of the margin: 0.5 lies on the plane.
    """

    type: Literal["svm"] = "svm"
    c: Positive = 0.01
    """Weight of the errors, which are summed over the examples, against the norm of the plane."""
    positive_weight: Positive = 1.0
    """Weight of the errors on objects against those on background."""
    bias_multiplier: Positive = 1.0
    """Constant that is appended to the features for the bias."""
    retrain_after: Count = 5000
    """A class is fitted anew after so many new hard negatives, and at the end."""
    margin_threshold: float = -1.0
    """Windows below this margin are not reported, nor grouped."""
    grouping: Literal["nms", "rectangles", "mean_shift"] = "nms"
    """How the windows that one object answers to become one: `nms` keeps the best, `rectangles` takes the
    mean of similar ones, as OpenCV does, `mean_shift` the peaks of the density of windows with margins above
    0, which are its margins (Dalal 2006)."""
    nms_iou: Fraction = 0.3
    """Of two boxes of a class that overlap more, `nms` drops the worse."""
    more_than: Index = 2
    """`rectangles` drops groups of so many windows or fewer; 0 groups nothing."""
    density_above: NonNegative = 0.0
    """`mean_shift` drops peaks of no greater density."""
    detections_per_image: Count = 100
    """At most this many boxes of an image are reported, the best."""


class MiningConfig(TrainConfig):
    """An SVM of random negatives first, then rounds of hard ones, found by it in whole images."""

    type: Literal["mining"] = "mining"
    rounds: Index = 2
    """How often the images are searched for hard negatives (1 in the paper)."""
    random_negatives: Count = 10
    """Windows of each image that a class's first SVM is fitted to, at random."""
    hard_per_image: Count = 200
    """Most hard negatives of a class and an image in a round, the worst first."""
    mirror: bool = True
    """Take each object mirrored, too."""
    jitter: Index = 0
    """Copies of each object that are moved and resized a little."""
    jitter_px: Index = 2
    """How far each of their edges goes, at most, in pixels of the window."""


class HOGSVMConfig(DetectorConfig):
    """HOG + linear SVM (Dalal and Triggs 2005): windows over a pyramid, classified by their gradients."""

    train_types: ClassVar[tuple[str, ...]] = ("mining",)
    refused: ClassVar[Refused] = {
        "proposals": dict.fromkeys(
            ("selective_search", "edge_boxes", "sliding_window", "file"),
            "cannot be: HOG is computed of windows of one size; regions of any size are rcnn's",
        )
    }

    type: Literal["hog_svm"] = "hog_svm"
    proposals: ImagePyramidConfig = ImagePyramidConfig()
    """Where to look."""
    regions: HOGConfig = HOGConfig()
    """What is there."""
    head: WindowSVMConfig = WindowSVMConfig()
    """What is it."""

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Leave images as they are, unless a size is asked for."""
        return fill(config, {"data": {"resize": None}})

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that there is a window for each class, and that images are not augmented."""
        windows = self.regions.windows
        if windows is not None and len(windows) != len(data.classes):
            raise ValueError(
                f"detector.regions.windows needs a size for each of the {len(data.classes)} classes, "
                f"got {len(windows)}"
            )
        if getattr(data.train, "augment", ()):
            raise ValueError(
                "data.train.augment must be empty with hog_svm, which finds its negatives in images as they "
                "are; train.mirror and train.jitter vary the objects"
            )

    def for_other_data(self, points: KeypointLayout | None) -> Self:
        """Return the config with windows that the training measures."""
        return self.model_copy(update={"regions": self.regions.model_copy(update={"windows": None})})

    @property
    def finest_stride(self) -> int:
        """Pixels from window to window."""
        return self.regions.stride_px
