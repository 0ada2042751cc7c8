from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from detkit.annotations.detect import detect_format
from detkit.annotations.writers import Format
from detkit.checks.sources import SURVEYORS
from detkit.data.datasets.config import AnyDatasetConfig, ObjectCropsConfig, SyntheticDatasetConfig
from detkit.data.datasets.readers import READERS, config_of_sets, config_type, configs_of_sets, read_set
from detkit.data.synthetic.dataset import SYNTHETIC_CLASSES, write_synthetic


def test_every_type_of_the_schema_has_a_reader() -> None:
    assert set(get_args(get_args(AnyDatasetConfig)[0])) == set(READERS)


def test_the_check_knows_types_that_have_a_reader() -> None:
    assert set(SURVEYORS) < set(READERS)


@pytest.mark.parametrize("fmt", ["voc", "coco", "yolo"])
def test_a_recognised_dataset_becomes_a_config_a_set(tmp_path: Path, fmt: Format) -> None:
    write_synthetic(tmp_path, fmt, 2, 1)
    found = detect_format(tmp_path)
    configs = configs_of_sets(found)
    assert {name: read_set(config).num_images for name, config in configs.items()} == {"train": 2, "val": 1}
    assert {type(config) for config in configs.values()} == {config_type(fmt)}
    assert config_of_sets(found, ["val"]) == configs["val"]


def test_datasets_without_files_are_read_like_the_others() -> None:
    drawn = SyntheticDatasetConfig(num_images=3)
    truth = read_set(drawn)
    assert (truth.classes, truth.num_images) == (SYNTHETIC_CLASSES, 3)
    assert read_set(ObjectCropsConfig(of=drawn)).num_images == truth.num_objects
