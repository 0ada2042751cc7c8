"""Division of a dataset into training and validation: as its author did, or by a stable hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.annotations.detect import FoundDataset
from detkit.data.datasets.config import DatasetConfig
from detkit.data.datasets.readers import config_of_sets, file_format, read_set
from detkit.errors import UserError

VAL_FRACTION = 0.2
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "minival", "dev")
TEST_NAMES = ("test",)


@dataclass(frozen=True)
class Split:
    """Division of a dataset into training and validation.

    Attributes:
        train: `data.train` of a config.
        val: `data.val`.
        note: one line that says how it was divided.
        written: files that had to be written for it.
    """

    train: DatasetConfig
    val: DatasetConfig
    note: str
    written: tuple[Path, ...] = ()


def divide(found: FoundDataset, out: Path) -> Split:
    """Return the training and validation parts of a dataset.

    The author's own division is taken where there is one: train and val, or train and test where there
    is no val. Otherwise a fifth of the images, chosen by a hash of their names and so always the same
    ones, is listed in files beside `out`.

    Args:
        found: the dataset.
        out: the config file that the lists belong to.

    Raises:
        UserError: the dataset has too few images to divide.
    """
    found = found.resolved()
    names = [item.name for item in found.sets]
    train, val = _named(names, TRAIN_NAMES), _named(names, VAL_NAMES) or _named(names, TEST_NAMES)
    if not train:
        train = [name for name in names if "trainval" in name and _named(names, TEST_NAMES)]
    if train and val:
        note = f"divided as the dataset is: {', '.join(train)} for training, {', '.join(val)} for validation"
        return Split(config_of_sets(found, train), config_of_sets(found, val), note)
    return _by_hash(found, train or names[:1], out)


def _named(names: list[str], wanted: Sequence[str]) -> list[str]:
    """Return the names that are one of `wanted`, or end in one behind a year, as in 2007_train."""
    return [name for name in names if name.lower().rsplit("_", 1)[-1] in wanted]


def _by_hash(found: FoundDataset, names: list[str], out: Path) -> Split:
    """Divide one set by a hash of the image names, and write the lists beside `out`."""
    config = config_of_sets(found, names)
    truth = read_set(config)
    if truth.num_images < 2:
        raise UserError(
            f"{found.root}: {truth.num_images} image with annotations; at least 2 are needed, one for "
            "training and one for validation"
        )
    order = sorted(range(truth.num_images), key=lambda i: _hash(str(truth.image_files[i])))
    held = set(order[: max(1, round(VAL_FRACTION * truth.num_images))])
    of_images = file_format(found.format).of_images
    (train, train_file), (val, val_file) = (
        of_images(
            config,
            truth,
            [image for image in range(truth.num_images) if (image in held) == is_val],
            out.with_name(f"{out.stem}_{name}"),
        )
        for name, is_val in (("train", False), ("val", True))
    )
    note = (
        f"the dataset is not divided: {len(held)} of {truth.num_images} images, chosen by a hash of "
        f"their names, are kept for validation ({val_file.name})"
    )
    return Split(train, val, note, (train_file, val_file))


def _hash(name: str) -> bytes:
    return hashlib.sha256(Path(name).stem.encode()).digest()
