"""Annotation set built image by image, for readers whose files hold one image each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detkit.annotations.class_names import label_names
from detkit.annotations.coordinates import Boxes, to_corners
from detkit.annotations.dataset import AnnotationSet, BoxFormat


@dataclass
class Assembly:
    """Collects images and their objects in reading order.

    Attributes:
        box_format: the convention of the boxes handed to `add_object`.
    """

    box_format: BoxFormat
    _files: list[str] = field(default_factory=list)
    _sizes: list[tuple[int, int]] = field(default_factory=list)
    _sources: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=lambda: [0])
    _boxes: list[Sequence[float]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _difficult: list[bool] = field(default_factory=list)

    def add_image(self, file: str, size: tuple[int, int], source: str) -> None:
        """Begin an image of (height, width); the objects added next are its own."""
        self._files.append(file)
        self._sizes.append(size)
        self._sources.append(source)
        self._starts.append(len(self._names))

    def add_object(self, name: str, box: Sequence[float], difficult: bool = False) -> None:
        """Add an object to the image begun last."""
        self._names.append(name)
        self._boxes.append(box)
        self._difficult.append(difficult)
        self._starts[-1] += 1

    def names(self) -> list[str]:
        """Return the class name of every object so far, in order."""
        return self._names

    def labels(self, classes: Sequence[str], ignore_classes: Sequence[str] = ()) -> list[int]:
        """Return the label of every object so far, -1 for a class to be ignored.

        Raises:
            UserError: as `label_names` does; the annotation file and the object's number in it are named.
        """

        def where(position: int) -> str:
            image = int(np.searchsorted(self._starts, position, side="right")) - 1
            return f"{self._sources[image]}: object {position - self._starts[image] + 1}"

        return label_names(self._names, classes, ignore_classes, where)

    def build(
        self, root: str, classes: Sequence[str], labels: Sequence[int], category_ids: Sequence[int]
    ) -> AnnotationSet:
        """Return the set; an object whose label is -1 is left out.

        Args:
            root: folder that the images' files start from.
            classes: K class names.
            labels: (M,) class index of each object added, or -1.
            category_ids: K ids of the classes in the source.
        """
        flat = np.asarray(labels, dtype=np.int32)
        kept = flat >= 0
        boxes: Boxes = np.asarray(self._boxes, dtype=np.float64).reshape(-1, 4)[kept]
        count = len(boxes)
        kept_before = np.concatenate([[0], np.cumsum(kept)])
        with np.errstate(invalid="ignore", over="ignore"):  # whoever called decides about such numbers
            corners = to_corners(boxes, self.box_format)
            areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        return AnnotationSet(
            classes=tuple(classes),
            category_ids=np.asarray(category_ids, dtype=np.int64),
            image_files=np.asarray(self._files, dtype=np.str_),
            image_ids=np.arange(1, len(self._files) + 1, dtype=np.int64),
            sizes=np.asarray(self._sizes, dtype=np.int32).reshape(-1, 2),
            offsets=kept_before[np.asarray(self._starts)].astype(np.int64),
            boxes=boxes,
            box_format=self.box_format,
            labels=flat[kept],
            difficult=np.asarray(self._difficult, dtype=np.bool_)[kept],
            crowd=np.zeros(count, dtype=np.bool_),
            areas=areas,
            ids=np.arange(1, count + 1, dtype=np.int64),
            root=root,
            sources=np.asarray(self._sources, dtype=np.str_),
        )
