"""The exports by name, and their images as an annotation set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from detkit.annotations.assembly import Assembly
from detkit.annotations.class_names import listed
from detkit.annotations.coordinates import points_from_pixels
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.exports.csv_table import read_table
from detkit.annotations.exports.cvat import read_cvat
from detkit.annotations.exports.ilsvrc import read_ilsvrc
from detkit.annotations.exports.label_studio import read_label_studio
from detkit.annotations.exports.labelme import read_labelme
from detkit.annotations.exports.records import ExportedImage, ExportedObject, ExportImages
from detkit.annotations.keypoints import KeypointLayout
from detkit.annotations.text_files import read_lines
from detkit.annotations.validity import require_boxes
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file

ExportFormat = Literal["csv", "cvat", "ilsvrc", "labelme", "labelstudio"]

EXPORTS: Mapping[str, Callable[[Path], list[ExportedImage]]] = {
    "csv": read_table,
    "cvat": read_cvat,
    "ilsvrc": read_ilsvrc,
    "labelme": read_labelme,
    "labelstudio": read_label_studio,
}
"""Readers by name, each given the file of annotations (LabelMe, ILSVRC: their folder)."""


def read_export(
    export: str,
    images: Path,
    annotations: Path,
    split: str = "",
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = (),
) -> AnnotationSet:
    """Read an export; image files are named, not opened (see `require_images`).

    Args:
        export: a key of `EXPORTS`.
        images: folder that the images lie in, or in folders of.
        annotations: the file, or for LabelMe and ILSVRC the folder.
        split: see `images_of_split`.
        classes: class names in label order; None takes those found, sorted.
        ignore_classes: names whose objects are left out; their images are kept.

    Raises:
        UserError: the file cannot be read, an object has no class or box, or there is no such split; see also
            `require_boxes`.
    """
    assembly, things = Assembly("coco"), list[ExportedObject]()
    wanted = images_of_split(EXPORTS[export](annotations), ExportImages(images), split, annotations)
    if (most := Counter(file for file, _ in wanted).most_common(1)) and most[0][1] > 1:
        raise UserError(
            f"{annotations}: {shown(most[0][0])} is annotated {most[0][1]} times; keep one of them, or let "
            "detkit check --fix DIR make one entry of all"
        )
    for file, image in wanted:
        assembly.add_image(file, image.size, str(image.source))
        for thing in image.objects:
            if thing.fault:
                raise UserError(f"{image.source}: {shown(image.name)}, object {thing.number}: {thing.fault}")
            assembly.add_object(thing.name, thing.box, thing.difficult)
            things.append(thing)
    kept = sorted(set(assembly.names()) - set(ignore_classes)) if classes is None else list(classes)
    labels = assembly.labels(kept, ignore_classes)
    truth = assembly.build(str(images), kept, labels, range(1, len(kept) + 1))
    things = [thing for thing, label in zip(things, labels, strict=True) if label >= 0]
    truth = replace(truth, crowd=np.array([thing.crowd for thing in things], dtype=np.bool_))
    return require_boxes(_with_keypoints(truth, things))


def _with_keypoints(truth: AnnotationSet, things: Sequence[ExportedObject]) -> AnnotationSet:
    """Return the set with the key points of its objects, in the order of the classes; itself without any."""
    in_order = [things[row] for row in np.argsort(truth.labels, kind="stable").tolist()]
    names = {name: 0 for thing in in_order for name in thing.keypoints}
    if not names:
        return truth
    places = {name: place for place, name in enumerate(names)}
    limbs = {(places[start], places[end]): 0 for thing in in_order for start, end in thing.limbs}
    found = np.zeros((len(things), len(names), 3))
    for points, thing in zip(found, things, strict=True):
        for name, point in thing.keypoints.items():
            points[places[name]] = point
    found = np.where(found[:, :, 2:] > 0, points_from_pixels(found, truth.box_format), 0.0)
    return replace(truth, keypoints=found, layout=KeypointLayout(tuple(names), tuple(limbs)))


def images_of_split(
    images: Sequence[ExportedImage], look_up: ExportImages, split: str, annotations: Path
) -> list[tuple[str, ExportedImage]]:
    """Return the images of a part, and the file of each from the folder of the images on.

    Args:
        images: those of an export.
        look_up: finds their files.
        split: a part that the export itself names; or the path of a text file with one image file a line;
            empty for all.
        annotations: of the export, for messages.

    Raises:
        UserError: there is no such part or file, or an image that it lists is not in the export.
    """
    found = [(look_up.find(image.name), image) for image in images]
    if not split:
        return found
    parts = sorted({image.part for image in images if image.part})
    if split in parts:  # before a file is looked for, which an export must not name
        return [(file, image) for file, image in found if image.part == split]
    if not split.endswith(".txt") or not is_file(Path(split)):
        raise UserError(
            f"{annotations}: no split {shown(split)}; it may be one of: {listed(parts)}; or the path of a "
            "text file with one image file a line"
        )
    known, lines = defaultdict[str, list[ExportedImage]](list), read_lines(Path(split))
    for file, image in found:
        known[file].append(image)
    if unknown := [name for name in lines if name not in known]:
        raise UserError(f"{split}: {shown(unknown[0])} is no image of {annotations}")
    return [(name, image) for name in lines for image in known[name]]
