"""Divide a dataset into training and validation: as its author did, or by a stable hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from detkit.annotations.coco import read_coco, read_json
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import FoundDataset, FoundSet
from detkit.annotations.image_files import image_path
from detkit.annotations.image_folder import read_image_folder
from detkit.annotations.voc import read_voc
from detkit.annotations.yolo import read_yolo
from detkit.errors import UserError
from detkit.storage.atomic_files import write_atomically

VAL_SHARE = 0.2
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation", "minival", "dev")
TEST_NAMES = ("test",)


@dataclass(frozen=True)
class Split:
    """How a dataset is divided.

    Attributes:
        train: the keys of `data.train` in a config.
        val: the keys of `data.val`.
        note: one line that says how it was divided.
        written: files that had to be written for it.
    """

    train: dict[str, Any]
    val: dict[str, Any]
    note: str
    written: tuple[Path, ...] = ()


def read_set(spec: dict[str, Any], classes: Sequence[str] | None = None) -> AnnotationSet:
    """Read the annotations that the keys of a `data.train` or `data.val` describe."""
    match spec["type"]:
        case "voc":
            return read_voc(Path(spec["root"]), spec["sets"], classes)
        case "coco":
            return read_coco(Path(spec["images"]), Path(spec["annotations"]), classes)
        case "image_folder":
            return read_image_folder(Path(spec["root"]), spec["split"], classes)
        case _:
            return read_yolo(Path(spec["root"]), spec["split"], classes)


def read_sets(specs: Mapping[str, dict[str, Any]]) -> dict[str, AnnotationSet]:
    """Read the annotations of several parts of a dataset, all with the same classes.

    VOC folders have no list of classes, and a rare one may be in one part only.
    """
    parts = {name: read_set(spec) for name, spec in specs.items()}
    if len({truth.classes for truth in parts.values()}) > 1:
        classes = sorted({name for truth in parts.values() for name in truth.classes})
        parts = {name: read_set(spec, classes) for name, spec in specs.items()}
    return parts


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
    names = [item.name for item in found.sets]
    train, val = _named(names, TRAIN_NAMES), _named(names, VAL_NAMES) or _named(names, TEST_NAMES)
    if not train:
        train = [name for name in names if "trainval" in name and _named(names, TEST_NAMES)]
    if train and val:
        note = f"divided as the dataset is: {', '.join(train)} to learn from, {', '.join(val)} to judge by"
        return Split(spec_of_sets(found, train), spec_of_sets(found, val), note)
    return _by_hash(found, train or names[:1], out)


def _named(names: list[str], wanted: Sequence[str]) -> list[str]:
    """Return the names that are one of `wanted`, or end in one behind a year, as in 2007_train."""
    return [name for name in names if name.lower().rsplit("_", 1)[-1] in wanted]


def spec_of_sets(found: FoundDataset, names: list[str]) -> dict[str, Any]:
    """Return the keys of a `data.train` or `data.val` for parts of a dataset.

    Args:
        found: the dataset.
        names: its parts; VOC takes several, the others the first; none is all of a VOC dataset.
    """
    root = str(found.root.resolve())
    if found.format == "voc":
        return {"type": "voc", "root": root, "sets": tuple(names)}
    if found.format in ("yolo", "image_folder"):
        return {"type": found.format, "root": root, "split": names[0]}
    return _coco_spec(next(item for item in found.sets if item.name == names[0]))


def _coco_spec(item: FoundSet) -> dict[str, Any]:
    assert item.images is not None
    assert item.annotations is not None
    return {
        "type": "coco",
        "images": str(item.images.resolve()),
        "annotations": str(item.annotations.resolve()),
    }


def _by_hash(found: FoundDataset, names: list[str], out: Path) -> Split:
    """Divide one set by a hash of the image names, and write the lists beside `out`."""
    spec = spec_of_sets(found, names)
    truth = read_set(spec)
    if truth.num_images < 2:
        raise UserError(
            f"{found.root}: {truth.num_images} image with annotations; at least 2 are needed, one to learn "
            "from and one to judge by"
        )
    order = sorted(range(truth.num_images), key=lambda i: _hash(str(truth.image_files[i])))
    held = set(order[: max(1, round(VAL_SHARE * truth.num_images))])
    parts = {
        "train": [i for i in range(truth.num_images) if i not in held],
        "val": [i for i in range(truth.num_images) if i in held],
    }
    written, specs = [], {}
    for part, images in parts.items():
        if found.format == "coco":
            file = out.with_name(f"{out.stem}_{part}.json")
            _write_coco_part(Path(spec["annotations"]), truth, images, file)
            specs[part] = {**spec, "annotations": str(file.resolve())}
        else:
            file = out.with_name(f"{out.stem}_{part}.txt")
            write_atomically(file, "".join(f"{_line(found, truth, i)}\n" for i in images).encode())
            key = (
                {"sets": (str(file.resolve()),)} if found.format == "voc" else {"split": str(file.resolve())}
            )
            specs[part] = {**spec, **key}
        written.append(file)
    note = (
        f"the dataset is not divided: {len(parts['val'])} of {truth.num_images} images, chosen by a hash of "
        f"their names, are kept to judge by ({written[1].name})"
    )
    return Split(specs["train"], specs["val"], note, tuple(written))


def _line(found: FoundDataset, truth: AnnotationSet, image: int) -> str:
    if found.format == "voc":
        return Path(str(truth.sources[image])).stem
    return str(image_path(truth, image).resolve())


def _write_coco_part(file: Path, truth: AnnotationSet, images: list[int], out: Path) -> None:
    """Write the part of a COCO file that belongs to some images; whatever else it holds stays."""
    content = read_json(file)
    kept = {int(truth.image_ids[i]) for i in images}
    content["images"] = [image for image in content["images"] if image["id"] in kept]
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] in kept]
    write_atomically(out, orjson.dumps(content))


def _hash(name: str) -> bytes:
    return hashlib.sha256(Path(name).stem.encode()).digest()
