"""The part of a config of deformable part models on a network's features."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from detkit.detectors.config import ChooseAnchors, DetectorConfig, Refused, Values
from detkit.models.backbones.caffenet.family import CaffeNetConfig
from detkit.models.backbones.config import ALL_STAGES
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.spec import Count, Fraction, NonNegative, Positive, Spec

_MOST_CELLS = 64
Cells = Annotated[int, Field(ge=1, le=_MOST_CELLS)]
"""Rows or columns of a filter."""

_CELL_PX = 16
_BASE_CELLS = (2, 8)  # sides of the smaller root filters that are chosen by the objects, were they square
_MOST_LEVELS = 16


class StarsConfig(Spec):
    """Star models: for each class a root filter of each of several shapes, with parts that move around it."""

    type: Literal["stars"] = "stars"
    roots: Annotated[tuple[tuple[Cells, Cells], ...], Field(min_length=1, max_length=32)] = (
        (8, 8),
        (6, 12),
        (12, 6),
    )
    """Rows and columns of the root filters, in cells of a level. The best of a class's is taken at each place
    (its components), and they are those of every class."""
    parts: Annotated[int, Field(ge=0, le=64)] = 0
    """Parts of a star model, which begin spread evenly over the root."""
    part_size: tuple[Cells, Cells] = (3, 3)
    """Rows and columns of a part's filter, in the root's cells."""
    reach: Annotated[int, Field(ge=0, le=16)] = 4
    """Cells that a part may move in each direction."""

    @model_validator(mode="after")
    def _parts_lie_in_their_roots(self) -> Self:
        small = [root for root in self.roots if root[0] < self.part_size[0] or root[1] < self.part_size[1]]
        if self.parts and small:
            raise ValueError(
                f"roots: parts of {list(self.part_size)} cells do not fit into a root of {list(small[0])}; "
                "take a smaller part_size, larger roots, or parts: 0"
            )
        return self


class DeepPyramidConfig(Spec):
    """The last map of a network for each of several sizes of an image, with its maxima around each cell."""

    type: Literal["max5"] = "max5"
    levels: Annotated[int, Field(ge=1, le=_MOST_LEVELS)] = 7
    """Sizes of an image, the one of `data.resize` first."""
    scale_step: Annotated[float, Field(gt=1)] = 2**0.5
    """By so much each size is smaller than the one before."""
    pool_cells: Annotated[int, Field(ge=1, le=15)] = 3
    """Cells across which the maximum around each cell is taken; odd, and 1 takes the map as it is."""
    scale: Positive = 0.02
    """Factor of the features, so that the SVM sees numbers of about 1."""

    @model_validator(mode="after")
    def _has_a_middle(self) -> Self:
        if self.pool_cells % 2 == 0:
            raise ValueError(f"pool_cells must be odd, got {self.pool_cells}")
        return self


class LatentSVMConfig(Spec):
    """A linear SVM for each star model, whose positives are the best placements on the objects.

    A score is the logistic function of the margin: 0.5 lies on the plane.
    """

    type: Literal["latent_svm"] = "latent_svm"
    fg_iou: Fraction = 0.7
    """A root may stand for an object from this IoU on; where there is none, the nearest ones may."""
    negative_iou: Fraction = 0.3
    """A root is a negative of a class below this IoU with each of its objects."""
    negatives_per_image: Count = 64
    """Hardest negatives of an image that train, over all classes."""
    box_regression: bool = False
    """Move and scale the root's box by a linear function of its features, one for each shape."""
    box_iou: Fraction = 0.5
    """Roots from this IoU on train it."""
    box_loss_weight: NonNegative = 1.0
    """Weight of its loss."""
    margin_threshold: float = -1.5
    """Placements below this margin are not reported."""
    nms_iou: Fraction = 0.3
    """Of two boxes of a class that overlap more, the worse is dropped."""
    detections_per_image: Count = 100
    """At most this many boxes of an image are reported, the best."""


class DPMCNNConfig(DetectorConfig):
    """A deformable part model as a network (Girshick 2015): roots and parts on a pyramid of deep features."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)
    paper_defaults: ClassVar[Values] = {"backbone": {"freeze_at": ALL_STAGES}}
    refused: ClassVar[Refused] = {
        "proposals": dict.fromkeys(
            ("rpn", "selective_search", "edge_boxes", "sliding_window", "file"),
            "cannot be: its windows are the places of its root filters",
        )
    }

    type: Literal["dpm_cnn"] = "dpm_cnn"
    backbone: AnyBackboneConfig = Field(default_factory=CaffeNetConfig)
    """The network that reads the image in each of its sizes. Pretrained it is frozen unless `freeze_at` says
    otherwise."""
    proposals: StarsConfig = StarsConfig()
    """Where to look."""
    regions: DeepPyramidConfig = DeepPyramidConfig()
    """What is there."""
    head: LatentSVMConfig = LatentSVMConfig()
    """What is it, and where exactly."""

    def with_anchors(self, choose: ChooseAnchors) -> Self:
        """Return the config with roots in the shapes of anchors, and as many levels as they have sizes.

        There are two roots of each shape: small ones find small objects, and twice as large ones see more of
        the others.
        """
        ((sizes_px,), ratios) = choose(1)
        smallest, largest = sizes_px[0] / _CELL_PX, sizes_px[-1] / _CELL_PX
        base = min(max(smallest, _BASE_CELLS[0]), _BASE_CELLS[1])
        roots = dict.fromkeys(
            self._root(side * ratio**0.5, side / ratio**0.5) for side in (base, 2 * base) for ratio in ratios
        )
        steps = math.ceil(math.log(max(largest / base, 1)) / math.log(self.regions.scale_step))
        proposals = self.proposals.model_copy(update={"roots": tuple(roots)})
        regions = self.regions.model_copy(update={"levels": min(1 + steps, _MOST_LEVELS)})
        return self.model_copy(update={"proposals": proposals, "regions": regions})

    def _root(self, rows: float, columns: float) -> tuple[int, int]:
        """Return a root of about these sides, larger in both where its parts would not fit into it."""
        least = self.proposals.part_size if self.proposals.parts else (1, 1)
        factor = max(1.0, least[0] / rows, least[1] / columns)
        return min(round(rows * factor), _MOST_CELLS), min(round(columns * factor), _MOST_CELLS)
