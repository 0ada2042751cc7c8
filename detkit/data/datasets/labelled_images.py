"""Labelled images of a dataset that is named by its folder alone, on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detkit.annotations.detect import FoundDataset, detect_format
from detkit.annotations.headers import with_sizes
from detkit.annotations.image_files import image_path, require_images
from detkit.annotations.joining import join_sets
from detkit.data.datasets.readers import config_of_sets, configs_of_sets, file_format, read_sets
from detkit.data.datasets.source import Source
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import NUM_SYNTHETIC, SYNTHETIC, embedded_set, is_embedded
from detkit.errors import UserError


def labelled_images(dataset: str, sets: Sequence[str] = ()) -> Source:
    """Read a dataset.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic` for the embedded one.
        sets: which of its parts, such as train or val; none is all of them.

    Raises:
        UserError: there is no dataset, it has no such part, or its labels or images cannot be read.
    """
    if is_embedded(dataset):
        return _drawn(sets)
    found = detect_format(Path(dataset))
    names = [item.name for item in found.sets]
    unknown = [name for name in sets if name not in names and not _is_list(found, name)]
    if unknown:
        offered = ", ".join(names) or "no parts; leave --set out"
        raise UserError(f"--set {unknown[0]}: {dataset} has {offered}")
    if sets:
        parts = read_sets({name: config_of_sets(found, [name]) for name in sets})
    elif file_format(found.format).any_sets:
        parts = read_sets({"all": config_of_sets(found, [])})
    else:
        parts = read_sets(configs_of_sets(found))
    root = found.root if found.root.is_dir() else found.root.parent
    truth = join_sets(list(parts.values()), root) if len(parts) > 1 else next(iter(parts.values()))
    require_images(truth)
    truth = with_sizes(truth)
    return Source(truth, lambda image: decode_image(image_path(truth, image)))


def part_names(dataset: str) -> list[str]:
    """Return the names of the parts of a dataset.

    Raises:
        UserError: there is no dataset.
    """
    if is_embedded(dataset):
        return list(NUM_SYNTHETIC)
    return [item.name for item in detect_format(Path(dataset)).sets]


def _is_list(found: FoundDataset, name: str) -> bool:
    """Return whether a set is given as a text file with the names of its images."""
    return file_format(found.format).any_sets and name.endswith(".txt") and Path(name).is_file()


def _drawn(sets: Sequence[str]) -> Source:
    names = list(NUM_SYNTHETIC)
    if len(sets) > 1 or not set(sets) <= set(names):
        raise UserError(f"--set {' '.join(sets)}: {SYNTHETIC} has {' and '.join(names)}, one at a time")
    images = embedded_set(sets[0] if sets else names[0])
    return Source(images.annotations(), images.render)
