"""Reads what `detkit check` is pointed at: the folder of a dataset, or the datasets of a config."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from detkit.annotations.coco import read_json
from detkit.annotations.detect import FoundDataset, detect_format
from detkit.checks.read_coco import survey_coco, unlisted_images
from detkit.checks.read_voc import survey_voc
from detkit.checks.read_yolo import survey_yolo
from detkit.checks.survey import Survey
from detkit.data.config import DataConfig
from detkit.data.datasets.config import (
    COCODatasetConfig,
    ObjectCropsConfig,
    VOCDatasetConfig,
    YOLODatasetConfig,
)
from detkit.errors import UserError

_COCO_KEYS = ("images", "annotations", "categories")


def is_dataset(target: str) -> bool:
    """Return whether a path is a dataset; otherwise it is a config, or nothing at all."""
    path = Path(target)
    if path.is_dir() or path.suffix.lower() == ".json":
        return True
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            return False  # the reader of configs says what is wrong with it
        return isinstance(content, dict) and "names" in content and "detector" not in content
    return False


def survey_dataset(path: Path) -> Survey:
    """Read all of a VOC, COCO or YOLO dataset.

    Raises:
        UserError: there is no dataset.
    """
    survey, broken = Survey(), list[UserError]()
    try:
        found = detect_format(path, broken)
    except UserError:
        broken.extend(_unreadable(path))
        if not broken:
            raise
        found = None
    for error in broken:
        file, told = _divided(str(error))
        survey.report("malformed_file", file, None, told)
    if found is not None:
        _read(survey, found)
    if not survey.files and not survey.faults:
        raise UserError(f"{path}: the dataset holds no image")
    return survey


def _read(survey: Survey, found: FoundDataset) -> None:
    names = [item.name for item in found.sets]
    match found.format:
        case "voc":
            survey_voc(survey, found.root, {name: [name] for name in names}, everything=True)
        case "yolo":
            survey_yolo(survey, found.root, {name: [name] for name in names}, everything=True)
        case _:
            for item in found.sets:
                assert item.images is not None
                assert item.annotations is not None
                survey_coco(survey, item.name, item.images, item.annotations)
            unlisted_images(survey)


def survey_config(data: DataConfig) -> Survey:
    """Read what a config learns from and is judged by.

    Synthetic and custom datasets have no files, and images by class no annotations.

    Raises:
        UserError: a folder, a file or a set is not there.
    """
    survey = Survey()
    voc: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    yolo: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for part, spec in (("train", data.train), ("val", data.val)):
        match spec.of if isinstance(spec, ObjectCropsConfig) else spec:
            case VOCDatasetConfig() as own:
                voc[own.root][part] = own.sets
            case YOLODatasetConfig() as own:
                yolo[own.root][part] = [own.split]
            case COCODatasetConfig() as own:
                file = Path(own.annotations)
                if not file.is_file():
                    raise UserError(f"data.{part}.annotations: {file}: the file does not exist")
                survey_coco(survey, part, Path(own.images), file)
            case _:
                pass
    _read_roots(survey, voc, yolo)
    for part, images in survey.parts.items():
        if not images and not survey.faults:
            raise UserError(f"data.{part}: no image is there")
    return survey


def _read_roots(
    survey: Survey, voc: dict[str, dict[str, Sequence[str]]], yolo: dict[str, dict[str, Sequence[str]]]
) -> None:
    for root, parts in voc.items():
        if not Path(root).is_dir():
            raise UserError(f"data.{next(iter(parts))}.root: {root}: the folder does not exist")
        survey_voc(survey, Path(root), parts, everything=False)
    for root, parts in yolo.items():
        survey_yolo(survey, Path(root), parts, everything=False)


def _unreadable(path: Path) -> Iterator[UserError]:
    """Yield what is wrong with files that might have been the annotations of a dataset."""
    if not path.exists():
        return
    folders = [path, path / "annotations"] if path.is_dir() else []
    for file in [path] if path.is_file() else sorted(f for d in folders for f in d.glob("*.json")):
        if file.suffix.lower() == ".json":
            yield from _broken_json(file)
    for file in [path] if path.is_file() else sorted([*path.glob("*.yaml"), *path.glob("*.yml")]):
        if file.suffix.lower() in (".yaml", ".yml"):
            try:
                yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                yield UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}")


def _broken_json(file: Path) -> Iterator[UserError]:
    try:
        content = read_json(file)
    except UserError as error:
        yield error
        return
    if isinstance(content, dict) and any(key in content for key in _COCO_KEYS):
        missing = [key for key in _COCO_KEYS if not isinstance(content.get(key), list)]
        if missing:
            yield UserError(f"{file}: has no list of {' nor of '.join(missing)}")


def _divided(message: str) -> tuple[str, str]:
    """Return the file that a message begins with, and the rest."""
    file, _, told = message.partition(": ")
    place = file.rsplit(":", 2)
    if len(place) == 3 and place[1].isdigit() and place[2].isdigit():
        return place[0], f"line {place[1]}, column {place[2]}: {told}"
    return file, told
