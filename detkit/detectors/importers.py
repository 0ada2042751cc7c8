"""The list of what `detkit import` reads: trained detectors of other programs.

A source is added by a reader in the folder of its detector, or beside them where it has several, and an entry
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detkit.detectors.families import later


@dataclass(frozen=True)
class Wanted:
    """What the user says of a file that does not say it itself.

    Attributes:
        arch: name of the architecture, or of a shipped config; None where the source has one only.
        classes: names; none takes those of the file, or the source's usual ones.
        window: width and height of the window in pixels; None where it follows from the file.
        cascade: folder with the statistics of a star-cascade; None looks at all places of all parts.
        cascade_threshold: margin that detections of the cascade have at least.
        norm_eps: what the program's frozen norms add to the variance; None where the source knows.
    """

    arch: str | None = None
    classes: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    cascade: Path | None = None
    cascade_threshold: float = -0.5
    norm_eps: float | None = None


@dataclass(frozen=True)
class Foreign:
    """A detector of another program, under our names.

    Attributes:
        config: short name of the shipped config that it is built by.
        overrides: changes to it, such as "detector.regions.context_px=0", before those of the user.
        classes: K names; none takes those of the config.
        state: weights by the names of our model.
        unused: what the file holds besides.
        licence: SPDX name of the weights' licence; NOASSERTION where nobody says it.
    """

    config: str
    overrides: tuple[str, ...]
    classes: tuple[str, ...]
    state: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()
    licence: str = "NOASSERTION"


Importer = Callable[[Sequence[Path], Wanted], Foreign]
"""Reads the files of a detector. A `UserError` names one, and says what it holds instead."""

IMPORTERS: Mapping[str, Importer] = {
    "torchvision": later("faster_rcnn.torchvision", "import_torchvision"),
    "caffe": later("caffe", "import_caffe"),
    "opencv-hog": later("hog_svm.opencv_hog", "read_opencv_hog"),
    "voc-release5": later("dpm.importer", "import_release5"),
}
