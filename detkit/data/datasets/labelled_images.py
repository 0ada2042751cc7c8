"""The images of a dataset with their labels, found by its folder alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import FoundDataset, detect_format
from detkit.annotations.headers import with_sizes
from detkit.annotations.image_files import image_path, require_images
from detkit.annotations.joining import join_sets
from detkit.data.datasets.splits import read_sets, spec_of_sets
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import NUM_SYNTHETIC, SYNTHETIC, SyntheticSet
from detkit.errors import UserError


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels.

    Attributes:
        truth: the labels of N images.
        pixels: returns the (H, W, 3) uint8 RGB pixels of the image at a position.
    """

    truth: AnnotationSet
    pixels: Callable[[int], NDArray[np.uint8]]


def labelled_images(dataset: str, sets: Sequence[str] = ()) -> LabelledImages:
    """Read a dataset.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic` for the embedded one.
        sets: which of its parts, such as train or val; none is all of them.

    Raises:
        UserError: there is no dataset, it has no such part, or its labels or images cannot be read.
    """
    if dataset == SYNTHETIC and not Path(dataset).exists():
        return _drawn(sets)
    found = detect_format(Path(dataset))
    names = [item.name for item in found.sets]
    unknown = [name for name in sets if name not in names and not _is_list(found, name)]
    if unknown:
        offered = ", ".join(names) or "no parts; leave --set out"
        raise UserError(f"--set {unknown[0]}: {dataset} has {offered}")
    if found.format == "voc" and not sets:
        parts = read_sets({"all": spec_of_sets(found, [])})
    else:
        parts = read_sets({name: spec_of_sets(found, [name]) for name in sets or names})
    root = found.root if found.root.is_dir() else found.root.parent
    truth = join_sets(list(parts.values()), root) if len(parts) > 1 else next(iter(parts.values()))
    require_images(truth)
    truth = with_sizes(truth)
    return LabelledImages(truth, lambda image: decode_image(image_path(truth, image)))


def part_names(dataset: str) -> list[str]:
    """Return the names of the parts of a dataset.

    Raises:
        UserError: there is no dataset.
    """
    if dataset == SYNTHETIC and not Path(dataset).exists():
        return list(NUM_SYNTHETIC)
    return [item.name for item in detect_format(Path(dataset)).sets]


def _is_list(found: FoundDataset, name: str) -> bool:
    """Return whether a part is given as a text file with the names of its images."""
    return found.format == "voc" and name.endswith(".txt") and Path(name).is_file()


def _drawn(sets: Sequence[str]) -> LabelledImages:
    names = list(NUM_SYNTHETIC)
    if len(sets) > 1 or not set(sets) <= set(names):
        raise UserError(f"--set {' '.join(sets)}: {SYNTHETIC} has {' and '.join(names)}, one at a time")
    part = sets[0] if sets else names[0]
    images = SyntheticSet(NUM_SYNTHETIC[part], seed=names.index(part))
    return LabelledImages(images.annotations(), images.render)
