"""Deformable part models."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from detkit.detectors.config import DetectorConfig, Values
from detkit.spec import Fraction, Spec, fill

Cells = Annotated[int, Field(ge=1, le=64)]
"""Rows or columns of a filter."""

MOST_CHILDREN = 64
"""Parts of a star model, and star models of a class."""

Stars = Annotated[tuple[tuple[Cells, Cells], ...], Field(min_length=1, max_length=MOST_CHILDREN)]
"""Rows and columns of the root filters of a class."""


class CascadeConfig(Spec):
    """Give up roots early, by what positives of the training scored (Felzenszwalb 2010)."""

    channels: Annotated[int, Field(ge=2, le=32)] = 6
    """Channels of the features that it begins with: principal components, and one for cells outside."""
    threshold: float = -0.5
    """Score that a detection has at least, which the limits of all stages were chosen for."""


class DPMConfig(DetectorConfig):
    """Deformable part models (Felzenszwalb 2010): a root filter with parts, in a pyramid of gradients.

    Models are imported, and not trained so far: `detkit import FILE --from voc-release5`.
    """

    train_types: ClassVar[tuple[str, ...]] = ("staged",)

    type: Literal["dpm"] = "dpm"
    cell_px: Literal[4, 8, 16, 32] = 8
    """Side of the root's cells in pixels, in copies of the image that shrink from its own size."""
    interval: Annotated[int, Field(ge=1, le=64)] = 10
    """Levels of the pyramid in an octave."""
    extra_octave: bool = False
    """Look at the image in twice its size, too: in cells of a quarter, for the parts of small objects."""
    roots: tuple[Stars, ...] = ()
    """For each class the [rows, columns] of the root filter of each of its star models."""
    mirrored: bool = True
    """Look for the mirror image of each star model, too; it shares the weights."""
    parts: Annotated[int, Field(ge=0, le=MOST_CHILDREN)] = 8
    """Parts of a star model."""
    part_size: tuple[Cells, Cells] = (6, 6)
    """Rows and columns of a part's filter, in cells of half the size."""
    box_prediction: bool = True
    """Predict an object's box from where root and parts are; otherwise it is the root's."""
    cascade: CascadeConfig | None = None
    """Look for a star model stage by stage; null looks at all places of all parts. A model that is imported
    with `--cascade` has what it needs."""
    nms_share: Fraction = 0.5
    """A detection is dropped where a better one of its class covers more than this share of it."""

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Leave images as they are, unless a size is asked for: the pyramid has all sizes."""
        return fill(config, {"data": {"resize": None}})

    @property
    def max_detections(self) -> int:
        """No limit."""
        return 1_000_000

    @property
    def finest_stride(self) -> int:
        """Pixels of a cell that objects are found on."""
        return self.cell_px // 2 if self.extra_octave else self.cell_px
