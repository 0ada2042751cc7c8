"""Which segmentations and groupings a mode of selective search combines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from detkit.proposals.selective_search.colour_spaces import ColourName
from detkit.proposals.selective_search.grouping import Similarity

ModeName = Literal["single", "fast", "quality", "opencv_single", "opencv_fast", "opencv_quality"]
MODE_NAMES: tuple[ModeName, ...] = get_args(ModeName)

ALL_TERMS = Similarity(colour=True, texture=True, size=True, fill=True)
NO_COLOUR = Similarity(texture=True, size=True, fill=True)
ONLY_FILL = Similarity(fill=True)
ONLY_SIZE = Similarity(size=True)


@dataclass(frozen=True)
class Mode:
    """Every colour space is segmented at every scale, and every segmentation is grouped by every similarity.

    Attributes:
        colours: spaces to segment and to compare regions in.
        scales: the k of the segmentation.
        similarities: what makes regions alike.
        opencv: whether all the rest is as in OpenCV (`docs/papers/selective_search.md`), or as the paper
            and its authors' code have it.
    """

    colours: tuple[ColourName, ...]
    scales: tuple[int, ...]
    similarities: tuple[Similarity, ...]
    opencv: bool = False

    def min_size(self, k: int) -> int:
        """Return the pixels of the smallest region that a segmentation leaves."""
        return 100 if self.opencv else k

    @property
    def min_side_px(self) -> int:
        """Boxes that are narrower or lower are dropped."""
        return 1 if self.opencv else 20


MODES: dict[ModeName, Mode] = {
    "single": Mode(("hsv",), (100,), (ALL_TERMS,)),
    "fast": Mode(("hsv", "lab"), (50, 100), (ALL_TERMS, NO_COLOUR)),
    "quality": Mode(
        ("hsv", "lab", "rgi", "hue", "intensity"),
        (50, 100, 150, 300),
        (ALL_TERMS, NO_COLOUR, ONLY_FILL, ONLY_SIZE),
    ),
    "opencv_single": Mode(("hsv",), (200,), (ALL_TERMS,), opencv=True),
    "opencv_fast": Mode(("hsv", "lab"), (150, 300, 450), (ALL_TERMS, NO_COLOUR), opencv=True),
    "opencv_quality": Mode(
        ("hsv", "lab", "intensity", "hue", "rgi"),
        (150, 300, 450, 600, 750),
        (ALL_TERMS, NO_COLOUR, ONLY_FILL, ONLY_SIZE),
        opencv=True,
    ),
}
