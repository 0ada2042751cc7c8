"""What the schema allows, in words and in reading order."""

from __future__ import annotations

import pytest

from detkit.config.keys import every_key, fields_of, holds, wanted
from detkit.config.schema import Config
from detkit.data.datasets.config import VOCDatasetConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.models.backbones.alexnet.family import AlexNetConfig
from detkit.models.roi.config import TwoFcHeadConfig
from detkit.spec import Spec
from detkit.training.loop.config import GradientConfig


def test_type_comes_first_and_shared_keys_last() -> None:
    assert list(fields_of(AlexNetConfig)) == ["type", "freeze_at", "width", "weights"]
    assert list(fields_of(VOCDatasetConfig)) == ["type", "root", "sets", "augment"]
    assert next(iter(fields_of(FasterRCNNConfig))) == "type"


@pytest.mark.parametrize(
    ("model", "key", "words"),
    [
        (Config, "version", "1"),
        (Config, "deterministic", "true or false"),
        (Config, "seed", "a whole number of at least 0"),
        (Config, "device", "text"),
        (GradientConfig, "early_stop", "a whole number of at least 1 or null"),
        (GradientConfig, "warmup", "a mapping"),
        (GradientConfig, "optimizer", "a mapping with type: sgd, adamw, custom"),
        (GradientConfig, "precision", "one of auto, fp32, bf16, fp16"),
        (AlexNetConfig, "width", "a number above 0 and at most 4"),
        (AlexNetConfig, "freeze_at", "a whole number from 0 to 5"),
        (VOCDatasetConfig, "sets", "a list, each text"),
        (TwoFcHeadConfig, "bg_iou", "a list of 2 values, each a number from 0 to 1"),
    ],
)
def test_what_a_key_may_hold_in_words(model: type[Spec], key: str, words: str) -> None:
    assert wanted(holds(model.model_fields[key])) == words


def test_every_key_reaches_into_lists_and_tagged_mappings() -> None:
    names = {name for name, *_ in every_key(Config)}
    assert {"data.train.augment.probability", "detector.head.dropout", "train.ema.decay"} <= names


def test_the_number_of_threads_is_auto_or_a_whole_number() -> None:
    field = Config.model_fields["threads"]
    assert field.default == "auto"
    assert wanted(holds(field)) == "auto or a whole number of at least 1"
