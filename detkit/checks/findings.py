"""Findings of a check and the kinds there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detkit.annotations.coco import LONGEST_PATH
from detkit.errors import cut

_LONGEST_THING = 200
_LONGEST_MESSAGE = 1000

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        severity: `error` stops a training or trains on something wrong; `warning` may be intended.
        title: what is said above a list of such faults.
        fix: what a corrected copy does about it; empty where only a person can decide.
    """

    severity: Severity
    title: str
    fix: str = ""


_ERRORS = {
    "malformed_file": ("a file of annotations cannot be read", "the image is left out"),
    "missing_split": ("a split of the dataset is not there or holds no image", ""),
    "missing_image": ("an annotated image does not exist", "the entry is left out"),
    "empty_file": ("an image file has no content", "the image is left out"),
    "unreadable_image": (
        "an image is truncated, damaged, no image, or outside of the dataset",
        "the image is left out",
    ),
    "exif_ignored": (
        "boxes were drawn before the EXIF orientation was applied",
        "boxes and size are turned as the image is",
    ),
    "size_swapped": ("the annotated width and height are swapped", "the size is corrected"),
    "size_mismatch": (
        "the annotated size is not the image's",
        "the size is corrected, and boxes are scaled where the image was resized",
    ),
    "box_convention": ("all boxes are written in another convention", "boxes are rewritten"),
    "normalised_box": ("fractions of the image where pixels are expected", "multiplied by the image's size"),
    "pixel_box": ("pixels where fractions of the image are expected", "divided by the image's size"),
    "off_by_one": ("all boxes are one pixel off", "boxes are shifted"),
    "malformed_object": ("an object lacks its class, its box or a number", "the object is left out"),
    "unknown_class": ("an object's class is not in the list of classes", "the object is left out"),
    "unknown_category": ("an annotation's category is not in the file", "the object is left out"),
    "unknown_image_id": ("an annotation's image is not in the file", "the object is left out"),
    "not_finite": ("a coordinate is not a finite number", "the object is left out"),
    "swapped_corners": ("a box ends before it begins", "the corners are swapped back"),
    "degenerate_box": ("a box has no width or no height", "the object is left out"),
    "outside_box": ("a box reaches beyond its image", "cut to the image; without area left, left out"),
    "no_objects": ("not one object is labelled", ""),
    "duplicate_category": ("two categories have the same id or name", ""),
    "duplicate_image_id": ("two images have the same id", ""),
    "duplicate_file_name": ("an image is listed twice", "the entries become one"),
    "duplicate_annotation_id": ("two annotations have the same id", "the later one gets a new id"),
    "split_unknown_image": ("a list names an image without annotation", "the line is left out"),
    "split_repeats": ("a list names an image twice", "the line is left out"),
    "split_overlap": ("the same image is in two splits", "left out of the training split"),
    "leaked_image": ("the same image content is in two splits", "left out of the training split"),
    "out_of_memory": ("the training does not fit into memory", ""),
    "shared_memory": ("the loader processes need more of /dev/shm than there is", ""),
}

_WARNINGS = {
    "similar_across_splits": ("near duplicates are in two splits", ""),
    "shared_film": ("frames of one film are in two splits", ""),
    "untrained_class": ("a class is evaluated but not in the training set", ""),
    "unjudged_class": ("a class is trained but not in the validation set", ""),
    "similar_classes": ("two class names differ only in spelling", ""),
    "conflicting_class": ("one box has two classes", ""),
    "suspect_label": ("an object's nearest neighbours are labelled otherwise", ""),
    "duplicate_object": ("an object is nearly the same as one in another image", ""),
    "duplicate_box": ("an object is labelled twice", "the later one is left out"),
    "duplicate_image": ("the same image content is there twice", ""),
    "off_by_one_suspected": ("boxes may be one pixel off", ""),
    "rare_class": ("a class has very few training objects", ""),
    "imbalanced_classes": ("some classes are far more frequent than others", ""),
    "unused_class": ("a class has no object", ""),
    "missed_objects": ("no anchor or proposal fits an object", ""),
    "below_stride": ("objects are smaller than one cell of the feature map", ""),
    "few_positives": ("few anchors or regions of a batch hold an object", ""),
    "unlabelled_image": ("an image has no annotation", ""),
    "not_in_split": ("an annotated image is in no part", ""),
    "empty_image": ("an image has no objects", ""),
    "missing_size": ("the annotation does not state the image's size", "the size is written"),
    "tiny_box": ("a box is only a few pixels large", ""),
    "extreme_aspect": ("a box or an image is very long and thin", ""),
    "exif_turned": ("the image carries an EXIF orientation", ""),
    "image_mode": ("pixels are not 8-bit colours", ""),
    "wrong_extension": ("the file's name says another format than its content", ""),
    "blank_image": ("all pixels have the same colour", ""),
}

KINDS: dict[str, Kind] = {
    **{name: Kind("error", *texts) for name, texts in _ERRORS.items()},
    **{name: Kind("warning", *texts) for name, texts in _WARNINGS.items()},
}
"""Every kind by name, ranked: what spoils most comes first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        kind: its name in `KINDS`.
        file: the file it is in; None where it belongs to the whole.
        object: which object, image, class or line of the file; None where it is the file itself.
        message: what was found and what was expected.
        objects: rows of the survey's objects that it is about.
        images: positions of the survey's images that it is about.
        handled: whether the config that is in use deals with it, so that it is no error.
    """

    kind: str
    file: str | None
    object: str | None
    message: str
    objects: tuple[int, ...] = ()
    images: tuple[int, ...] = ()
    handled: bool = False

    @property
    def is_error(self) -> bool:
        """Whether it stops a training or lets it train on something wrong."""
        return KINDS[self.kind].severity == "error" and not self.handled

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {"kind": self.kind, "file": self.file, "object": self.object, "message": self.message}


def found(
    kind: str,
    file: Path | str | None,
    thing: str | None,
    message: str,
    *,
    objects: Iterable[int] = (),
    images: Iterable[int] = (),
) -> Finding:
    """Return a finding of a kind that there is; what is said is cut where a name in it has no end.

    See `Finding`.
    """
    assert kind in KINDS, kind
    place = None if file is None else cut(str(file), LONGEST_PATH)
    thing = None if thing is None else cut(thing, _LONGEST_THING)
    message = cut(message, _LONGEST_MESSAGE)
    return Finding(kind, place, thing, message, tuple(map(int, objects)), tuple(map(int, images)))


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings worst first, those of a kind in the order in which they were found."""
    ranks = {name: rank for rank, name in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: ranks[finding.kind])
