"""Dataset that was recognised in a folder or a file: its format, its place and its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Format = Literal["voc", "coco", "yolo", "image_folder", "csv", "cvat", "ilsvrc", "labelme", "labelstudio"]


@dataclass(frozen=True)
class FoundSet:
    """One part of a dataset.

    Attributes:
        name: "train", "2007_trainval", ...; for COCO the stem of the JSON file where it says neither
            train, val nor test.
        images: folder of the images, for COCO and the exports of labelling tools.
        annotations: file of annotations, for these; for LabelMe and ILSVRC their folder.
        split: the part of that file; empty for all of it.
    """

    name: str
    images: Path | None = None
    annotations: Path | None = None
    split: str = ""


@dataclass(frozen=True)
class FoundDataset:
    """A dataset's format, where it starts, and its parts (none: VOC files that are not divided)."""

    format: Format
    root: Path
    sets: tuple[FoundSet, ...]

    def resolved(self) -> FoundDataset:
        """Return the dataset with absolute paths, which a config file needs."""
        sets = (
            replace(
                item,
                images=item.images and item.images.resolve(),
                annotations=item.annotations and item.annotations.resolve(),
            )
            for item in self.sets
        )
        return FoundDataset(self.format, self.root.resolve(), tuple(sets))
