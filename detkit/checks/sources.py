"""Surveys of what `detkit check` is pointed at: the folder of a dataset, or the datasets of a config."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.annotations.coco import read_json
from detkit.annotations.detect import locate_dataset
from detkit.checks.read_coco import SECTIONS, lacking, survey_coco
from detkit.checks.read_exports import survey_exports
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
from detkit.data.datasets.readers import EXPORT_CONFIGS, config_type, configs_of_sets, require_places
from detkit.errors import UserError
from detkit.spec import Spec
from detkit.storage.regular_files import is_file, is_folder
from detkit.storage.strict_yaml import read_yaml_file


def is_dataset(target: str) -> bool:
    """Return whether a path is a dataset; otherwise it is a config, or nothing at all."""
    path = Path(target)
    if is_folder(path) or path.suffix.lower() in (".json", ".csv", ".xml", ".txt"):
        return True
    if path.suffix.lower() in (".yaml", ".yml") and is_file(path):
        try:
            content = read_yaml_file(path).value
        except UserError:
            return False  # the reader of configs says what is wrong with it
        return isinstance(content, dict) and "names" in content and "detector" not in content
    return False


def survey_dataset(path: Path) -> Survey:
    """Read all of a dataset.

    Raises:
        UserError: there is no dataset.
    """
    survey, broken = Survey(), list[UserError]()
    try:
        found = locate_dataset(path, broken)
    except UserError:
        broken.extend(_unreadable(path))
        if not broken:
            raise
        found = None
    for error in broken:
        file, sentence = _divided(str(error))
        survey.report("malformed_file", file, None, sentence)
    if found is not None:
        sets = configs_of_sets(found) if found.sets else {}
        SURVEYORS[config_type(found.format)].read(survey, found.root, sets, True)
    if not survey.files and not survey.faults:
        raise UserError(f"{path}: the dataset holds no image")
    return survey


def survey_config(data: DataConfig) -> Survey:
    """Read the training and validation sets of a config.

    Synthetic and custom datasets have no files, and images by class no annotations.

    Raises:
        UserError: a folder, a file or a set is not there.
    """
    survey = Survey()
    of_root: dict[tuple[type, str], dict[str, Any]] = defaultdict(dict)
    for part, named in (("train", data.train), ("val", data.val)):
        config = named.of if isinstance(named, ObjectCropsConfig) else named
        surveyor = None if config is None else SURVEYORS.get(type(config))
        if surveyor is not None:
            require_places(part, config)
            of_root[type(config), surveyor.root(config)][part] = config
    for (kind, root), sets in of_root.items():
        SURVEYORS[kind].read(survey, Path(root), sets, False)
    for part, images in survey.parts.items():
        if not images and not survey.faults:
            raise UserError(f"data.{part}: no image is there")
    return survey


@dataclass(frozen=True)
class Surveyor:
    """Survey of all sets of a dataset of one type.

    Attributes:
        read: adds sets, which lie in one root, to a survey; also files that belong to no set where asked.
        root: returns the folder of a config; sets of one root are read together, their images once.
    """

    read: Callable[[Survey, Path, Mapping[str, Any], bool], None]
    root: Callable[[Any], str]


SURVEYORS: dict[type[Spec], Surveyor] = {
    VOCDatasetConfig: Surveyor(survey_voc, lambda config: str(config.root)),
    YOLODatasetConfig: Surveyor(survey_yolo, lambda config: str(config.root)),
    COCODatasetConfig: Surveyor(survey_coco, lambda config: str(config.annotations)),
    **dict.fromkeys(EXPORT_CONFIGS, Surveyor(survey_exports, lambda config: str(config.annotations))),
}
"""The types of datasets with annotation files, the ones that `detkit check` can look at."""


def _unreadable(path: Path) -> Iterator[UserError]:
    """Yield what is wrong with files that might have been the annotations of a dataset."""
    jsons = sorted([*path.glob("*.json"), *path.glob("annotations/*.json")])
    yamls = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    for file in [path] if is_file(path) else [*jsons, *yamls]:
        try:
            if file.suffix.lower() == ".json":
                content = read_json(file)
                if isinstance(content, dict) and any(key in content for key in SECTIONS) and lacking(content):
                    yield UserError(f"{file}: {lacking(content)}")
            elif file.suffix.lower() in (".yaml", ".yml"):
                read_yaml_file(file).whole()
        except UserError as error:
            yield UserError(" ".join(str(error).split()))


def _divided(message: str) -> tuple[str, str]:
    """Return the file that a message begins with, and the rest."""
    file, _, sentence = message.partition(": ")
    place = file.rsplit(":", 2)
    if len(place) == 3 and place[1].isdigit() and place[2].isdigit():
        return place[0], f"line {place[1]}, column {place[2]}: {sentence}"
    return file, sentence
