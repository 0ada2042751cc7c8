"""Where to look without learning it: selective search, EdgeBoxes, sliding windows, a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.config.spec import Count, Custom, Index, Spec


class SelectiveSearch(Spec):
    """Selective search (Uijlings 2013): merge a segmentation step by step, every region gives a box."""

    type: Literal["selective_search"]
    mode: Literal["single", "fast", "quality", "opencv_single", "opencv_fast", "opencv_quality"] = "fast"
    """How many segmentations are merged by how many rules: `single` 1, `fast` 8, `quality` 80 (the paper);
    the others give what OpenCV's `ximgproc` gives."""
    seed: Index = 0
    """Seeds the order of the boxes."""
    max_boxes: Count | None = None
    """Keep the first so many of an image; null keeps all."""


class EdgeBoxes(Spec):
    """EdgeBoxes (Zitnick and Dollar 2014): boxes that wholly enclose many contours."""

    type: Literal["edge_boxes"]
    max_boxes: Count | None = 1000
    """Keep the best so many of an image; null keeps all."""


class SlidingWindow(Spec):
    """Boxes of fixed shapes on a regular grid."""

    type: Literal["sliding_window"]
    max_boxes: Count | None = None
    """Keep the first so many of an image; null keeps all."""


class ProposalFile(Spec):
    """Boxes from files that `detkit propose` wrote, or that somebody else's tool did."""

    type: Literal["file"]
    train: str
    """The file for `data.train`."""
    val: str | None = None
    """The file for `data.val`."""
    max_boxes: Count | None = None
    """Keep the first so many of an image; null keeps all."""


Proposer = Annotated[SelectiveSearch | EdgeBoxes | SlidingWindow, Field(discriminator="type")]
"""What can be computed from an image alone."""

ExternalProposals = Annotated[
    SelectiveSearch | EdgeBoxes | SlidingWindow | ProposalFile | Custom, Field(discriminator="type")
]
"""What R-CNN, SPP-net and Fast R-CNN take as `detector.proposals`."""
