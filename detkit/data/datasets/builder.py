"""Config -> labelled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import assert_never

import numpy as np

from detkit.annotations.coco import read_coco
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.headers import with_sizes
from detkit.annotations.image_files import require_images
from detkit.annotations.image_folder import read_image_folder, whole_images
from detkit.annotations.validity import apply_box_policy
from detkit.annotations.voc import read_voc
from detkit.annotations.yolo import read_yolo
from detkit.custom import build_custom
from detkit.data.config import DataConfig
from detkit.data.datasets.config import (
    AnyDatasetConfig,
    COCODatasetConfig,
    ImageFolderConfig,
    ObjectCropsConfig,
    SyntheticDatasetConfig,
    VOCDatasetConfig,
    YOLODatasetConfig,
)
from detkit.data.datasets.object_crops import object_crops
from detkit.data.datasets.source import Source, file_source
from detkit.data.synthetic.dataset import SyntheticSet as DrawnSet
from detkit.errors import UserError
from detkit.spec import CustomConfig


def open_training_set(data: DataConfig) -> tuple[Source, dict[str, int]]:
    """Return the images to learn from, with the box policy applied, and what it changed.

    Raises:
        UserError: something in the dataset is missing or malformed, or a box is not valid and
            `data.invalid_boxes` is error.
    """
    source = open_set(data.train, data)
    annotations, changed = apply_box_policy(source.annotations, data.invalid_boxes)
    if annotations.num_objects == 0:
        raise UserError(
            f"data.train: {annotations.num_images} images in {annotations.root}, but not one labelled object "
            f"of the classes {', '.join(data.classes)}"
        )
    if data.use_difficult:
        annotations = replace(annotations, difficult=np.zeros_like(annotations.difficult))
    return Source(annotations, source.pixels), changed


def open_validation_set(data: DataConfig) -> Source:
    """Return the images to be judged by, with the boxes exactly as their files hold them.

    The box policy changes nothing here, because the official numbers are those of the files; `error`
    still refuses a box that is not valid.

    Raises:
        UserError: there is no such set, something in it is missing or malformed, or a box is not
            valid and `data.invalid_boxes` is error.
    """
    if data.val is None:
        raise UserError("data.val: the config names no images to be judged by")
    source = open_set(data.val, data)
    if isinstance(data.val, ImageFolderConfig):
        source = Source(whole_images(source.annotations), source.pixels)
    if data.invalid_boxes == "error":
        apply_box_policy(source.annotations, "error")
    return source


def open_set(spec: AnyDatasetConfig, data: DataConfig) -> Source:  # noqa: PLR0911 (one for each kind)
    """Return the images and labels of one `data.train` or `data.val`."""
    named = data.classes, data.ignore_classes
    match spec:
        case SyntheticDatasetConfig():
            drawn = DrawnSet(spec.num_images, spec.seed, data.classes)
            return Source(drawn.annotations(), drawn.render)
        case VOCDatasetConfig():
            return _files(read_voc(Path(spec.root), spec.sets, *named))
        case COCODatasetConfig():
            return _files(read_coco(Path(spec.images), Path(spec.annotations), *named))
        case YOLODatasetConfig():
            return _files(read_yolo(Path(spec.root), spec.split, *named))
        case ImageFolderConfig():
            return file_source(
                read_image_folder(Path(spec.root), spec.split, data.classes, data.ignore_classes)
            )
        case ObjectCropsConfig():
            return object_crops(open_set(spec.of, data), spec.context)
        case CustomConfig():
            return _own(spec, data.classes)
        case _:
            assert_never(spec)


def _own(spec: CustomConfig, classes: tuple[str, ...]) -> Source:
    source = build_custom(spec, classes=classes)
    if not isinstance(source, Source):
        raise UserError(
            f"target {spec.target!r}: a dataset must be a detkit.data.datasets.source.Source, "
            f"not {type(source).__name__}"
        )
    return source


def _files(annotations: AnnotationSet) -> Source:
    require_images(annotations)
    return file_source(with_sizes(annotations))
