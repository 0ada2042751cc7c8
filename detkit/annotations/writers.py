"""Writers of VOC, COCO, YOLO and LabelMe folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np
import yaml

from detkit.annotations.coordinates import (
    Boxes,
    corners_to_voc,
    corners_to_xywh,
    fractions_of,
    pixels,
    points_as,
    to_corners,
)
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import copied_name, image_names, with_sizes
from detkit.annotations.keypoints import num_labelled
from detkit.annotations.text_files import write_lines
from detkit.annotations.validity import TOLERANCE_PX, require_boxes
from detkit.names import file_name, one_line
from detkit.storage.atomic import write_atomically
from detkit.storage.json_text import json_bytes
from detkit.storage.strict_yaml import read_yaml_file

Format = Literal["voc", "coco", "yolo", "labelme"]


def image_folder(folder: Path, dataset_format: Format, split: str) -> Path:
    """Return the folder in which a written dataset expects the images of a split."""
    split = file_name(split)
    if dataset_format == "voc":
        return folder / "JPEGImages"
    return folder / "images" / split if dataset_format == "yolo" else folder / split


def write_dataset(folder: Path, dataset_format: Format, splits: Mapping[str, AnnotationSet]) -> None:
    """Write the annotations of a dataset; the images themselves are the caller's (see `image_folder`).

    Images are named by their file names alone (see `copied_name`). Boxes that already are in the format's
    convention come back bit for bit when the folder is read; so do all numbers of COCO. Others are rounded:
    see `detkit.annotations.coordinates`.

    Args:
        folder: where the dataset goes.
        dataset_format: voc, coco, yolo or labelme.
        splits: the annotation set of each split, such as train and val.

    Raises:
        UserError: two images share a name, a box ends before it begins or has a coordinate that is no number,
            or an image of unknown size cannot be read.
    """
    writers = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo, "labelme": write_labelme}
    for split, truth in splits.items():
        image_names(truth)
        writers[dataset_format](folder, file_name(split), with_sizes(require_boxes(truth)))
    if dataset_format == "yolo" and splits:
        _name_train_and_val(folder / "data.yaml")


def write_voc(folder: Path, split: str, truth: AnnotationSet) -> None:
    """Write Annotations/<image>.xml for every image and ImageSets/Main/<split>.txt.

    Crowd regions are marked difficult, which VOC's evaluation passes over likewise. A box of COCO or YOLO is
    cut to the image where it reaches less than `TOLERANCE_PX` beyond it, and a side of less than a pixel
    becomes one: VOC has no smaller box.
    """
    boxes = truth.boxes if truth.box_format == "voc" else _voc_boxes(truth)
    names = image_names(truth)
    for index, name in enumerate(names):
        rows = range(int(truth.offsets[index]), int(truth.offsets[index + 1]))
        objects = "".join(_voc_object(truth, boxes, row) for row in rows)
        height, width = truth.sizes[index]
        write_atomically(
            folder / "Annotations" / f"{name}.xml",
            f"<annotation>\n  <filename>{escape(copied_name(truth.image_files[index]))}</filename>\n"
            f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
            f"{objects}</annotation>\n",
            sync=False,
        )
    write_lines(folder / "ImageSets" / "Main" / f"{split}.txt", names)


def write_coco(folder: Path, split: str, truth: AnnotationSet) -> None:
    """Write annotations/instances_<split>.json."""
    images = [
        {"id": image_id, "file_name": copied_name(file), "height": height, "width": width}
        for image_id, file, (height, width) in zip(
            truth.image_ids.tolist(), truth.image_files.tolist(), truth.sizes.tolist(), strict=True
        )
    ]
    categories: list[dict[str, Any]] = [
        {"id": category_id, "name": name}
        for category_id, name in zip(truth.category_ids.tolist(), truth.classes, strict=True)
    ]
    layout = truth.layout
    if layout is not None:
        lines = [[one + 1, other + 1] for one, other in layout.skeleton]
        categories = [one | {"keypoints": list(layout.names), "skeleton": lines} for one in categories]
    owners = truth.image_ids[truth.image_index()].tolist()
    same = truth.box_format == "coco"
    boxes = (truth.boxes if same else pixels(corners_to_xywh(_corners(truth)))).tolist()
    areas = (truth.areas if same else pixels(truth.areas)).tolist()
    objects: list[dict[str, Any]] = [
        {
            "id": int(truth.ids[row]),
            "image_id": owners[row],
            "category_id": int(truth.category_ids[truth.labels[row]]),
            "bbox": boxes[row],
            "area": areas[row],
            "iscrowd": int(truth.crowd[row]),
        }
        | ({"difficult": 1} if truth.difficult[row] else {})
        for row in range(truth.num_objects)
    ]
    if truth.keypoints is not None:
        points = points_as(truth.keypoints, truth.box_format, "coco")
        points = np.where(points[:, :, 2:] > 0, points, 0.0).reshape(len(points), -1)
        numbers = num_labelled(truth.keypoints).tolist()
        for one, own, number in zip(objects, points.tolist(), numbers, strict=True):
            one |= {"keypoints": own, "num_keypoints": number}
    content = {"images": images, "annotations": objects, "categories": categories}
    write_atomically(folder / "annotations" / f"instances_{split}.json", json_bytes(content))


def write_yolo(folder: Path, split: str, truth: AnnotationSet) -> None:
    """Write labels/<split>/<image>.txt for every image, and add the split to data.yaml.

    Crowd regions are left out, because YOLO's files cannot mark them.
    """
    values = fractions_of(_corners(truth), truth.sizes[truth.image_index()])
    for index, name in enumerate(image_names(truth)):
        lines = [
            f"{truth.labels[row]} {yolo_numbers(values[row])}\n"
            for row in range(int(truth.offsets[index]), int(truth.offsets[index + 1]))
            if not truth.crowd[row]
        ]
        write_atomically(folder / "labels" / split / f"{name}.txt", "".join(lines), sync=False)
    file = folder / "data.yaml"
    content = read_yaml_file(file, as_text=True).whole() if file.is_file() else {}
    content |= {split: f"images/{split}", "names": dict(enumerate(truth.classes))}
    write_atomically(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _name_train_and_val(file: Path) -> None:
    """Let data.yaml have train and val, without which Ultralytics reads none, whatever the splits are called.

    Each is the split that ends so, or one that comes near; the same twice where there is but one.
    """
    content = read_yaml_file(file, as_text=True).whole()
    splits = [key for key in content if key != "names"]

    def named(*wanted: str) -> str | None:
        return next(
            (key for word in wanted for key in splits if key.lower().rsplit("_", 1)[-1] == word), None
        )

    train = named("train", "training", "trainval") or splits[0]
    val = named("val", "valid", "validation", "test") or train
    names = {int(number): name for number, name in content["names"].items()}
    content = {"train": content[train], "val": content[val]} | content | {"names": names}
    write_atomically(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_labelme(folder: Path, split: str, truth: AnnotationSet) -> None:
    """Write <split>/<image>.json with a rectangle for every object; `difficult` and `crowd` become flags."""
    corners = pixels(_corners(truth)).tolist()
    for index, name in enumerate(image_names(truth)):
        height, width = truth.sizes[index].tolist()
        shapes = [
            {
                "label": truth.classes[truth.labels[row]],
                "points": [corners[row][:2], corners[row][2:]],
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {"difficult": bool(truth.difficult[row]), "crowd": bool(truth.crowd[row])},
            }
            for row in range(int(truth.offsets[index]), int(truth.offsets[index + 1]))
        ]
        content = {
            "version": "5.0.0",  # of LabelMe's format
            "flags": {},
            "shapes": shapes,
            "imagePath": copied_name(truth.image_files[index]),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        text = json_bytes(content, indented=True)
        write_atomically(folder / split / f"{name}.json", text, sync=False)


def yolo_numbers(values: Boxes) -> str:
    """Return the (4,) fractions of a box as a line of a YOLO file has them.

    Example:
        >>> yolo_numbers(np.array([0.5, 0.00001, 1.0, 0.25]))
        '0.5 0.00001 1 0.25'
    """
    return " ".join(np.format_float_positional(value, trim="-") for value in values)


def _corners(truth: AnnotationSet) -> Boxes:
    return to_corners(truth.boxes, truth.box_format)


def _voc_boxes(truth: AnnotationSet) -> Boxes:
    corners, limit = _corners(truth), truth.sizes[truth.image_index()][:, ::-1].astype(np.float64)
    cut = np.clip(corners, 0, np.tile(limit, 2))
    reach = np.abs(cut - corners).max(axis=1, keepdims=True, initial=0)
    low, high = np.split(np.where(reach < TOLERANCE_PX, cut, corners), 2, axis=1)
    thin = (high > low) & (high < low + 1)
    low = np.where(thin, np.minimum(low, limit - 1), low)
    return pixels(corners_to_voc(np.concatenate([low, np.where(thin, low + 1, high)], axis=1)))


def _voc_object(truth: AnnotationSet, boxes: Boxes, row: int) -> str:
    corners = "".join(
        f"<{key}>{int(value) if value.is_integer() else repr(value)}</{key}>"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), boxes[row].tolist(), strict=True)
    )
    name = escape(one_line(truth.classes[truth.labels[row]]))
    difficult = int(truth.difficult[row] or truth.crowd[row])
    return (
        f"  <object>\n    <name>{name}</name>\n    <difficult>{difficult}</difficult>\n"
        f"    <bndbox>{corners}</bndbox>\n  </object>\n"
    )
