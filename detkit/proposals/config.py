"""Proposal methods without a network: selective search, EdgeBoxes, sliding windows, a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.spec import Count, CustomConfig, Fraction, Index, NonNegative, Positive, Spec

ModeName = Literal["single", "fast", "quality", "opencv_single", "opencv_fast", "opencv_quality"]
Positives = Annotated[tuple[Positive, ...], Field(min_length=1)]


class SelectiveSearchConfig(Spec):
    """Selective search (Uijlings 2013): merge a segmentation step by step, every region gives a box."""

    type: Literal["selective_search"] = "selective_search"
    mode: ModeName = "fast"
    """Number of segmentations times merging rules: `single` 1, `fast` 8, `quality` 80 (the paper);
    the others give what OpenCV's `ximgproc` gives."""
    seed: Index = 0
    """Seeds the order of the boxes."""
    max_boxes: Count | None = None
    """Keep the first so many of an image; null keeps all."""


class GradientEdgesConfig(Spec):
    """Contours where colours change more than around."""

    type: Literal["gradient"] = "gradient"
    scales_px: Positives = (1.0, 2.0, 4.0)
    """Standard deviations of the Gaussians that smooth the image; contours of all are added."""
    surround_px: Positive = 10.0
    """Standard deviation of the Gaussian that takes the mean of what is around, to weaken texture."""
    surround: NonNegative = 1.0
    """Fraction of that mean that is subtracted; 0 is none."""
    full_share: Annotated[float, Field(gt=0, le=1)] = 0.99
    """This fraction of the contour pixels gets less than the full magnitude of 1."""


class EdgeFilesConfig(Spec):
    """Contours from files, such as Structured Edges gave."""

    type: Literal["files"] = "files"
    folder: str
    """Holds NAME.npz with `magnitude` in [0, 1] and `orientation` (radians, across the contour), or NAME.png,
    grey, for each image NAME.jpg. Boxes that were computed are kept: other maps need another folder."""


class EdgeBoxesConfig(Spec):
    """EdgeBoxes (Zitnick and Dollar 2014): boxes that wholly enclose many contours."""

    type: Literal["edge_boxes"] = "edge_boxes"
    edges: Annotated[GradientEdgesConfig | EdgeFilesConfig, Field(discriminator="type")] = (
        GradientEdgesConfig(type="gradient")
    )
    """Edge detector: `gradient` of the colours, or edge maps of another detector from `files`."""
    alpha: Annotated[float, Field(ge=0.3, le=0.95)] = 0.65
    """IoU of neighbours among the boxes evaluated; higher is finer and slower."""
    beta: Annotated[float, Field(ge=0.1, le=1)] = 0.75
    """Of boxes that overlap by more than this IoU only the better one stays; above 0.99 all stay. About 0.05
    more than the IoU that is wanted is best: 0.55 for 0.5, 0.95 for 0.9."""
    eta: Annotated[float, Field(ge=0.9, le=1)] = 1.0
    """Factor on `beta` after each box that stays, while it is above 0.5; 1 leaves it alone. With `beta` 0.9,
    0.9996 gives a good recall at all IoUs."""
    min_score: Positive = 0.01
    """Boxes of lower scores are left out."""
    max_boxes: Count | None = 1000
    """Keep the best so many of an image; null keeps all."""
    min_edge: Fraction = 0.1
    """Edges of this magnitude or less do not count."""
    max_turn: Annotated[float, Field(gt=0)] = 0.5
    """A group of edge pixels ends where the turns of its contour sum to this, in units of pi."""
    min_group: NonNegative = 0.5
    """Groups whose magnitudes sum to this or less are taken apart, and their pixels join neighbours."""
    max_ratio: Annotated[float, Field(ge=1)] = 3.0
    """Longest side over shortest of the boxes evaluated, before they are refined."""
    min_area_px: Annotated[float, Field(ge=16)] = 1000.0
    """Area of the smallest boxes evaluated, before they are refined."""
    gamma: Positive = 2.0
    """Exponent: how fast the affinity of two groups falls with the angle between them."""
    kappa: Positive = 1.5
    """How much large boxes are held back: sums are divided by a quarter of the perimeter to this power."""


class RelativeWindowsConfig(Spec):
    """Windows that grow with the image, evenly spread from border to border."""

    type: Literal["relative"] = "relative"
    scales: Positives = (0.15, 0.21, 0.3, 0.42, 0.6, 0.85)
    """Square roots of the windows' areas, as fractions of the square root of the image's area."""
    ratios: Positives = (0.4, 0.7, 1.0, 1.5, 2.5)
    """Height over width. A window that is wider or higher than the image is cut to it."""
    stride: Annotated[float, Field(ge=0.01, le=4)] = 0.5
    """Distance of neighbours as a fraction of the window's side, at most. Half of it gives about four
    times as many boxes."""


class PyramidWindowsConfig(Spec):
    """Windows of fixed size over smaller and smaller copies of the image, the places of a template."""

    type: Literal["pyramid"] = "pyramid"
    sizes_px: Annotated[tuple[tuple[Count, Count], ...], Field(min_length=1)] = ((64, 64), (48, 96), (96, 48))
    """Width and height of each window, in pixels of a copy."""
    stride_px: Count = 16
    """Distance of neighbours, in pixels of a copy."""
    scale_step: Annotated[float, Field(ge=1.01)] = 1.25
    """Each copy is this factor smaller than the one before it."""


class SlidingWindowConfig(Spec):
    """Boxes of fixed shapes on regular grids, large ones first."""

    type: Literal["sliding_window"] = "sliding_window"
    windows: Annotated[RelativeWindowsConfig | PyramidWindowsConfig, Field(discriminator="type")] = (
        RelativeWindowsConfig(type="relative")
    )
    """Placement of the windows: `relative` to the image's size (the default gives about 1,500 for a photo of
    500 x 375 pixels), or as a `pyramid`, a template's places at all sizes."""
    max_boxes: Count | None = None
    """Keep the first so many of an image, which are a coarser covering of all of it; null keeps all."""


class ProposalFileConfig(Spec):
    """Boxes from files that `detkit propose` wrote, or that somebody else's tool did."""

    type: Literal["file"] = "file"
    train: str
    """The file for `data.train`."""
    val: str | None = None
    """The file for `data.val`."""
    max_boxes: Count | None = None
    """Keep the first so many of an image; null keeps all."""


AnyProposerConfig = Annotated[
    SelectiveSearchConfig | EdgeBoxesConfig | SlidingWindowConfig, Field(discriminator="type")
]
"""Proposal methods that need an image alone."""

ExternalProposalsConfig = Annotated[
    SelectiveSearchConfig | EdgeBoxesConfig | SlidingWindowConfig | ProposalFileConfig | CustomConfig,
    Field(discriminator="type"),
]
"""Values of `detector.proposals` in R-CNN, SPP-net and Fast R-CNN."""


def for_any_images(proposals: ExternalProposalsConfig) -> ExternalProposalsConfig:
    """Return proposals that are computed, in place of those that lie in files and so belong to one dataset.

    Boxes from files give way to selective search, contours from files to those found in the colours.

    Example:
        >>> for_any_images(ProposalFileConfig(type="file", train="boxes.safetensors", max_boxes=500))
        SelectiveSearchConfig(type='selective_search', mode='fast', seed=0, max_boxes=500)
    """
    if isinstance(proposals, ProposalFileConfig):
        return SelectiveSearchConfig(type="selective_search", max_boxes=proposals.max_boxes)
    if isinstance(proposals, EdgeBoxesConfig) and isinstance(proposals.edges, EdgeFilesConfig):
        return proposals.model_copy(update={"edges": GradientEdgesConfig(type="gradient")})
    return proposals
