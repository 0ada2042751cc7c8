"""Division of a dataset into training and validation: as its author did, or by a stable hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.annotations.found_dataset import FoundDataset
from detkit.annotations.image_files import require_images
from detkit.data.datasets.config import DatasetConfig
from detkit.data.datasets.readers import config_of_sets, file_format, read_set
from detkit.data.datasets.related_images import MOST_COMPARED, Series, series_of, thumbnails_of
from detkit.data.datasets.roles import ROLES, role
from detkit.errors import UserError

VAL_FRACTION = 0.2
WHOLE_NAMES = ("trainval", "all")


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
    ones, is listed in files beside `out`; near duplicates and frames of a film stay together.

    Args:
        found: the dataset.
        out: the config file that the lists belong to.

    Raises:
        UserError: the dataset has too few images to divide, or one that is missing; or it has several sets
            and their names do not say which is which.
    """
    found = found.resolved()
    names = [item.name for item in found.sets]
    train, held, test = ([name for name in names if role(name) == wanted] for wanted in ROLES)
    val = held or test
    if not train:
        train = [name for name in names if "trainval" in name and test]
    if train and val:
        note = f"divided as the dataset is: {', '.join(train)} for training, {', '.join(val)} for validation"
        return Split(config_of_sets(found, train), config_of_sets(found, val), note)
    if not train and len(names) > 1:
        train = [name for name in names if name.lower().rsplit("_", 1)[-1] in WHOLE_NAMES]
        if not train:
            raise UserError(
                f"{found.root}: {len(names)} sets are in it, and no name says which is for training:",
                *(
                    f"  {item.name}" + (f" ({item.annotations})" if item.annotations else "")
                    for item in found.sets
                ),
                "name one file alone as the dataset, or call the files (folders, lists) of one dataset train "
                "and val",
            )
    return _by_hash(found, train or names, out)


def _by_hash(found: FoundDataset, names: list[str], out: Path) -> Split:
    """Divide one set by a hash of the image names, series by series, and write the lists beside `out`."""
    config = config_of_sets(found, names)
    truth = read_set(config)
    if truth.num_images < 2:
        raise UserError(
            f"{found.root}: {truth.num_images} image with annotations; at least 2 are needed, one for "
            "training and one for validation"
        )
    require_images(truth)
    files = truth.image_files.tolist()
    series = series_of(files, thumbnails_of(truth))
    held, cut = hold_out(files, series)
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
    joined = sum(len(one.images) for one in series if len(one.images) > 1)
    if joined:
        note += f"; {joined} images are near duplicates or frames of films, and stay together"
    if cut:
        note += f", but for a film that is most of the dataset: it is cut before {cut}, where it changes most"
    if truth.num_images > MOST_COMPARED:
        note += f"; more than {MOST_COMPARED:,} images are not compared with one another"
    return Split(train, val, note, (train_file, val_file))


def hold_out(files: Sequence[str], series: Sequence[Series]) -> tuple[set[int], str]:
    """Return the images to keep for validation, and the first of the end of a series that had to be cut.

    Whole series are taken in the order of a hash of their first name, as many as a fifth of the images has
    room for. Where not even half of that comes together, the smallest of the others is taken as long as it is
    at most two fifths; otherwise the end of the largest, from where its images differ most.

    Args:
        files: names of the images.
        series: of them.
    """
    wanted = max(1, round(VAL_FRACTION * len(files)))
    ordered = sorted(series, key=lambda one: min(_hash(files[image]) for image in one.images))
    held: set[int] = set()
    for one in ordered:
        if len(held) + len(one.images) <= wanted:
            held.update(one.images)
    if 2 * len(held) >= wanted:
        return held, ""
    left = sorted(
        (one for one in ordered if not held.issuperset(one.images)), key=lambda one: len(one.images)
    )
    if len(held) + len(left[0].images) <= 2 * wanted and len(left) > 1:
        return held | set(left[0].images), ""
    images, steps = left[-1].images, left[-1].steps
    room = wanted - len(held)
    ends = range(max(1, room // 2), min(len(images), room + room // 2 + 1))
    end = max(ends, key=lambda count: (steps[-count], -abs(count - room)))
    return held | set(images[-end:]), Path(files[images[-end]]).name


def _hash(name: str) -> bytes:
    return hashlib.sha256(Path(name).stem.encode()).digest()
