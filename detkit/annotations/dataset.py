"""Annotation and detection sets as flat arrays, in the coordinates of their own files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.keypoints import KeypointLayout, Keypoints

BoxFormat = Literal["voc", "coco"]
"""`voc`: x1 y1 x2 y2, inclusive pixels, 1-based. `coco`: x y width height, continuous, 0-based."""


@dataclass(frozen=True)
class AnnotationSet:
    """N images and M labelled objects of K classes; the objects of image i are rows offsets[i]:offsets[i+1].

    Coordinates stay exactly as the files hold them (float64), because only those give the official
    evaluation numbers to the last digit. Files on disk keep their own category and image ids, which
    come back unchanged in results.

    Attributes:
        classes: K class names; a label is an index into them.
        category_ids: (K,) int64 ids of the classes in the source (1..K where the source has none).
        image_files: (N,) str, path of each image, relative to `root` or absolute.
        image_ids: (N,) int64 ids of the images in the source (1..N where the source has none).
        sizes: (N, 2) int32 (height, width) in pixels as annotated; (0, 0) where the source does not say.
        offsets: (N + 1,) int64.
        boxes: (M, 4) float64 in `box_format`.
        box_format: the convention of `boxes`.
        labels: (M,) int32 in [0, K).
        difficult: (M,) bool.
        crowd: (M,) bool.
        areas: (M,) float64; COCO's `area` (of the segmentation where there is one), otherwise width x height.
        ids: (M,) int64 annotation ids of the source (1..M where the source has none).
        root: folder that relative image files start from.
        sources: (N,) str, the annotation file each image was read from, for messages (the same
            file for every image of a COCO set).
        image_roots: further folders that images may lie in, where the files of the dataset name some.
        keypoints: (M, P, 3) float64 key points of the objects, as the files hold them: COCO's number pixels
            from 0, those of the format "voc" from 1; None in a dataset without.
        layout: the P key points; None without.
    """

    classes: tuple[str, ...]
    category_ids: NDArray[np.int64]
    image_files: NDArray[np.str_]
    image_ids: NDArray[np.int64]
    sizes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    boxes: NDArray[np.float64]
    box_format: BoxFormat
    labels: NDArray[np.int32]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    ids: NDArray[np.int64]
    root: str
    sources: NDArray[np.str_]
    image_roots: tuple[str, ...] = ()
    keypoints: Keypoints | None = None
    layout: KeypointLayout | None = None

    @property
    def num_images(self) -> int:
        """Number of images, those without objects included."""
        return len(self.image_files)

    @property
    def num_objects(self) -> int:
        """Number of labelled objects."""
        return len(self.labels)

    def image_index(self) -> NDArray[np.int64]:
        """Return the (M,) index of the image that each object belongs to."""
        return np.repeat(np.arange(self.num_images, dtype=np.int64), np.diff(self.offsets))


OF_IMAGES = ("image_files", "image_ids", "sizes", "sources")
OF_OBJECTS = ("boxes", "labels", "difficult", "crowd", "areas", "ids", "keypoints")
"""Fields of an `AnnotationSet` with a row for each image, and for each object; one that is None has none."""


@dataclass(frozen=True)
class DetectionSet:
    """D detections over the images of an `AnnotationSet`, in any order: what evaluation counts.

    Attributes:
        images: (D,) int64 index of the image in the annotation set.
        labels: (D,) int32 class index in the annotation set.
        scores: (D,) float64.
        boxes: (D, 4) float64 in `box_format`.
        box_format: the convention of `boxes`; it must be that of the annotation set.
        keypoints: (D, P, 2) float64 x and y of each one's key points in the same convention, or None.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int32]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    box_format: BoxFormat
    keypoints: Keypoints | None = None

    def of(self, kept: NDArray[np.bool_]) -> DetectionSet:
        """Return some of the detections; `kept` is (D,), True for those that stay."""
        points = None if self.keypoints is None else self.keypoints[kept]
        return DetectionSet(
            self.images[kept], self.labels[kept], self.scores[kept], self.boxes[kept], self.box_format, points
        )


def select_objects(truth: AnnotationSet, kept: NDArray[np.bool_]) -> AnnotationSet:
    """Return the set with only some objects; all images stay.

    Args:
        truth: the set.
        kept: (M,) True for the objects that stay.
    """
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return replace(truth, offsets=before[truth.offsets], **_rows(truth, OF_OBJECTS, kept))


def select_images(truth: AnnotationSet, images: Sequence[int] | NDArray[np.int64]) -> AnnotationSet:
    """Return the set of only some images and their objects, in the order asked for; ids are kept.

    Args:
        truth: the set.
        images: indices of the images.
    """
    chosen = np.asarray(images, dtype=np.int64)
    starts, ends = truth.offsets[:-1][chosen], truth.offsets[1:][chosen]
    counts = ends - starts
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
    of_images, of_objects = _rows(truth, OF_IMAGES, chosen), _rows(truth, OF_OBJECTS, rows)
    return replace(truth, offsets=offsets, **of_images, **of_objects)


def join_sets(parts: Sequence[AnnotationSet], root: Path) -> AnnotationSet:
    """Return the images of all parts, each once: one that is in several parts is taken from the first.

    Args:
        parts: sets of the same classes and box format.
        root: folder of the dataset, which the image files are then relative to.
    """
    rooted = [
        replace(part, root=str(root), image_files=np.asarray(_below(part, root), dtype=np.str_))
        for part in parts
    ]
    seen: set[str] = set()
    kept = []
    for part in rooted:
        new = [i for i, file in enumerate(part.image_files.tolist()) if file not in seen]
        kept.append(part if len(new) == part.num_images else select_images(part, new))
        seen.update(part.image_files.tolist())
    counts = np.concatenate([np.diff(part.offsets) for part in kept])
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in kept])
        for name in OF_IMAGES + OF_OBJECTS
        if getattr(kept[0], name) is not None
    }
    roots = tuple(dict.fromkeys(folder for part in parts for folder in (part.root, *part.image_roots)))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(kept[0], offsets=offsets, image_roots=roots, **joined)


def _rows(truth: AnnotationSet, names: Sequence[str], rows: NDArray[Any]) -> dict[str, Any]:
    return {name: column[rows] for name in names if (column := getattr(truth, name)) is not None}


def _below(part: AnnotationSet, root: Path) -> list[str]:
    return [os.path.relpath(Path(part.root) / file, root) for file in part.image_files.tolist()]
