"""Survey: everything that the files of a dataset say, right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, centred_to_corners, voc_to_corners, xywh_to_corners
from detkit.annotations.found_dataset import Format
from detkit.annotations.image_places import ImagePlaces
from detkit.checks.findings import Finding, found
from detkit.errors import UserError

UNKNOWN = -1

NOWHERE = (np.nan,) * 4
_LARGEST_PX = 1_000_000
_OBJECT_NAMES = {"coco": "annotation", "yolo": "line", "csv": "line"}


@dataclass(frozen=True)
class AnnotationGroup:
    """Annotations that were written together, and so share their mistakes.

    Attributes:
        format: what they are written in.
        root: the folder that the dataset starts from; for COCO that of the images.
        place: the JSON file, the folder of XML files, or the file with the names of the classes.
        classes: names that the source lists, in the order of their ids; empty for VOC, which lists none.
        image_roots: folders besides `root` that its images may lie in.
    """

    format: Format
    root: Path
    place: Path
    classes: tuple[str, ...] = ()
    image_roots: tuple[Path, ...] = ()


@dataclass
class Survey:
    """Images and objects as their files hold them; nothing is left out or mended.

    Attributes:
        groups: where annotations come from.
        parts: positions of the images of each part, such as train.
        names: class names; a label is an index into them.
        files: N image files.
        sources: N annotation files.
        rows: N places within the source (COCO: of the image's entry).
        group: N indices into `groups`.
        sizes: N annotated (height, width); (0, 0) where none is stated.
        annotated: N times whether there is an annotation that could be read.
        owners: M positions of the objects' images; UNKNOWN for an image that is not there.
        boxes: M boxes as written: VOC x1 y1 x2 y2, YOLO cx cy width height, otherwise x y width height.
        labels: M labels; UNKNOWN for a class that is not there.
        numbers: M numbers by which people find an object: its place in a VOC file from 1, its id in COCO,
            its line in YOLO.
        places: M places within the source, from 0.
        crowd: M times whether it is a region of many objects.
        whole: M times whether box and class could be read.
        faults: what was wrong with the files themselves.
        first_rows: row of the first object of each COCO group, whose objects follow one another.
    """

    groups: list[AnnotationGroup] = field(default_factory=list)
    parts: dict[str, list[int]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    annotated: list[bool] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    boxes: list[Sequence[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)
    first_rows: dict[int, int] = field(default_factory=dict)
    _labels: dict[str, int] = field(default_factory=dict)

    def label(self, name: str) -> int:
        """Return the label of a class, a new one for a new name."""
        label = self._labels.setdefault(name, len(self.names))
        if label == len(self.names):
            self.names.append(name)
        return label

    def add_image(
        self, file: Path, source: Path, group: int, size: tuple[int, int] = (0, 0), row: int = 0
    ) -> int:
        """Add an image and return its position; a size that no image has counts as none."""
        self.files.append(file)
        self.sources.append(source)
        self.rows.append(row)
        self.group.append(group)
        self.sizes.append(size if max(size) <= _LARGEST_PX else (0, 0))
        self.annotated.append(True)
        return len(self.files) - 1

    def add_object(self, owner: int, label: int, box: Sequence[float], number: int) -> int:
        """Add the object of a place in a file, counted from 1, and return its row."""
        self.owners.append(owner)
        self.labels.append(label)
        self.boxes.append(box)
        self.numbers.append(number)
        self.places.append(number - 1)
        self.crowd.append(False)
        self.whole.append(True)
        return len(self.owners) - 1

    def add_malformed(self, owner: int, number: int, name: str, message: str) -> None:
        """Add an object that could not be read, and note what is wrong with it."""
        row = self.add_object(owner, UNKNOWN, NOWHERE, number)
        self.whole[row] = False
        self.report("malformed_object", self.sources[owner], name, message, objects=[row])

    def report(
        self, kind: str, file: Path | str | None, thing: str | None, message: str, **about: Iterable[int]
    ) -> None:
        """Note a fault of the files, and the rows or images it is about; see `found`."""
        self.faults.append(found(kind, file, thing, message, **about))

    def refused_files(self) -> dict[Path, str]:
        """Return the image files that are not to be opened, and why; see `ImagePlaces`."""
        places = [ImagePlaces((group.root, *group.image_roots)) for group in self.groups]
        reasons = {
            file: places[group].refusal(str(file)) for file, group in zip(self.files, self.group, strict=True)
        }
        return {file: reason for file, reason in reasons.items() if reason}

    def object_name(self, row: int) -> str:
        """Return what people call an object: `object 3 (cat)`."""
        label, owner = self.labels[row], self.owners[row]
        group = self.group[owner] if owner != UNKNOWN else 0
        what = _OBJECT_NAMES.get(self.groups[group].format, "object")
        number = self.numbers[row]
        place = f"{what} {number}" if number != UNKNOWN else f"annotations[{self.places[row]}]"
        return place if label == UNKNOWN else f"{place} ({self.names[label]})"

    def about_object(self, kind: str, row: int, message: str) -> Finding:
        """Return a finding about an object, in the file of its image; in none where there is no image."""
        owner = self.owners[row]
        source = self.sources[owner] if owner != UNKNOWN else None
        return found(kind, source, self.object_name(row), message, objects=[row])

    def arrays(self, seen: NDArray[np.int64], drawn_on: NDArray[np.int64]) -> Arrays:
        """Return the objects as arrays, for checks that look at all of them at once.

        Args:
            seen: (N, 2) size of each image as it is seen; see `detkit.checks.sizes.image_sizes`.
            drawn_on: (N, 2) size in which its boxes were drawn.
        """
        owners = np.asarray(self.owners, dtype=np.int64)
        group = np.asarray([*self.group, UNKNOWN], dtype=np.int64)[owners]  # UNKNOWN is the last row
        formats = [*(group.format for group in self.groups), ""]
        nowhere = np.zeros((1, 2), dtype=np.int64)
        return Arrays(
            owners=owners,
            group=group,
            boxes=np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4),
            labels=np.asarray(self.labels, dtype=np.int64),
            crowd=np.asarray(self.crowd, dtype=np.bool_),
            whole=np.asarray(self.whole, dtype=np.bool_),
            is_yolo=np.asarray([name == "yolo" for name in formats])[group],
            is_voc=np.asarray([name == "voc" for name in formats])[group],
            seen=np.concatenate([seen, nowhere])[owners],
            drawn_on=np.concatenate([drawn_on, nowhere])[owners],
        )


@dataclass(frozen=True)
class Arrays:
    """The M objects of a survey.

    Attributes:
        owners: (M,) see `Survey`, as `boxes`, `labels`, `crowd` and `whole`.
        group: (M,) indices into the survey's groups; UNKNOWN without an image.
        boxes: (M, 4) as written.
        labels: (M,).
        crowd: (M,).
        whole: (M,).
        is_yolo: (M,) whether the box is written as fractions of the image.
        is_voc: (M,) whether it is written in VOC's inclusive pixels.
        seen: (M, 2) height and width of each object's image as it is seen; (0, 0) without one.
        drawn_on: (M, 2) those in which its box was drawn.
    """

    owners: NDArray[np.int64]
    group: NDArray[np.int64]
    boxes: Boxes
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    is_yolo: NDArray[np.bool_]
    is_voc: NDArray[np.bool_]
    seen: NDArray[np.int64]
    drawn_on: NDArray[np.int64]

    @cached_property
    def unscaled(self) -> Boxes:
        """(M, 4) x1 y1 x2 y2 in the units of the file: VOC's inclusive pixels, YOLO's fractions."""
        corners = np.where(self.is_voc[:, None], self.boxes, xywh_to_corners(self.boxes))
        corners[self.is_yolo] = centred_to_corners(self.boxes[self.is_yolo])
        return corners

    @cached_property
    def corners(self) -> Boxes:
        """(M, 4) continuous corner boxes in pixels of the images as they are seen."""
        return self._in_pixels(self.seen)

    @cached_property
    def drawn_corners(self) -> Boxes:
        """(M, 4) continuous corner boxes in pixels of the images in which they were drawn."""
        return self._in_pixels(self.drawn_on)

    def _in_pixels(self, sizes: NDArray[np.int64]) -> Boxes:
        corners = self.unscaled.copy()
        corners[self.is_voc] = voc_to_corners(corners[self.is_voc])
        corners[self.is_yolo] *= np.tile(sizes[self.is_yolo][:, ::-1], 2)
        return corners


def without_file(error: UserError, file: Path) -> str:
    """Return the message of an error without the file that it begins with, which findings name apart."""
    return str(error).removeprefix(str(file)).lstrip(": ")
