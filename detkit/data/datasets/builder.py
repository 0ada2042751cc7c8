"""Config -> training and validation sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.annotations.class_names import listed
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.validity import apply_box_policy
from detkit.data.config import DataConfig
from detkit.data.datasets.config import AnyDatasetConfig
from detkit.data.datasets.readers import Screen, all_images, reader_of
from detkit.data.datasets.source import Source
from detkit.errors import UserError
from detkit.runtime.progress import say


def open_training_set(data: DataConfig, screen: Screen = all_images) -> tuple[Source, dict[str, int]]:
    """Return the training images, with the box policy applied, and what it changed.

    Args:
        data: the `data` of a config.
        screen: leaves out images that cannot be read.

    Raises:
        UserError: something in the dataset is missing or malformed, or a box is not valid and
            `data.invalid_boxes` is error.
    """
    source = open_set(data.train, data, screen)
    annotations, changed = apply_box_policy(source.annotations, data.invalid_boxes)
    if annotations.num_objects == 0:
        raise UserError(
            f"data.train: {annotations.num_images} images in {annotations.root}, but not one labelled object "
            f"of the classes {', '.join(data.classes)}"
        )
    if data.use_difficult:
        annotations = replace(annotations, difficult=np.zeros_like(annotations.difficult))
    return replace(source, annotations=annotations), changed


def warn_of_untrained(truth: AnnotationSet) -> None:
    """Say which classes have no object to learn from in a training set: they will never be found."""
    used = truth.labels[~(truth.crowd | truth.difficult)]
    counts = np.bincount(used, minlength=len(truth.classes))
    if lacking := [name for name, count in zip(truth.classes, counts, strict=True) if not count]:
        say(f"warning: the training set has no object of {listed(lacking, 10)}: never found after training")


def open_validation_set(data: DataConfig, screen: Screen = all_images) -> Source:
    """Return the validation images, with the boxes exactly as their files hold them.

    The box policy changes nothing here, because the official numbers are those of the files; `error`
    still refuses a box that is not valid.

    Args:
        data: the `data` of a config.
        screen: leaves out images that cannot be read.

    Raises:
        UserError: there is no such set, something in it is missing or malformed, or a box is not
            valid and `data.invalid_boxes` is error.
    """
    if data.val is None:
        raise UserError("data.val: the config names no validation images")
    source = open_set(data.val, data, screen)
    source = replace(source, annotations=reader_of(data.val).for_validation(source.annotations))
    if data.invalid_boxes == "error":
        apply_box_policy(source.annotations, "error")
    return source


def open_set(config: AnyDatasetConfig, data: DataConfig, screen: Screen = all_images) -> Source:
    """Return the images and labels of one `data.train` or `data.val`."""
    return reader_of(config).open(config, data.classes, data.ignore_classes, screen)
