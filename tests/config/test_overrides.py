"""`key.sub=value` goes through the same checks as the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config.load import parse_config
from detkit.config.schema import Config
from detkit.data.transforms.config import FlipConfig
from detkit.errors import UserError
from detkit.training.loop.config import AdamWConfig, CosineScheduleConfig, EMAConfig, StepScheduleConfig

SMALL = (Path(__file__).parent / "small.yaml").read_text(encoding="utf-8")


def read(*overrides: str) -> Config:
    return parse_config(SMALL, "a.yaml", overrides)


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        read(*overrides)
    return str(caught.value)


def test_a_value_is_read_as_yaml() -> None:
    assert read("train.optimizer.lr=1e-4").train.optimizer.model_dump()["lr"] == 1e-4
    assert read("data.classes=[a, b, c]").data.classes == ("a", "b", "c")
    assert read("data.val=null").data.val is None
    schedule = read("train.schedule={type: step, at: [8, 11]}", "train.schedule.at=[9]").train.schedule
    assert isinstance(schedule, StepScheduleConfig)
    assert schedule.at == (9,)


def test_the_last_one_wins_and_whole_mappings_can_be_replaced() -> None:
    assert read("train.epochs=3", "train.epochs=4").train.epochs == 4
    assert isinstance(read("train.optimizer={type: adamw, lr: 1e-4}").train.optimizer, AdamWConfig)


def test_mappings_that_the_file_leaves_out_begin_with_their_defaults() -> None:
    assert read("data.resize.short_px=320").data.resize.long_px == 1000
    schedule = read("train.schedule.final=0.1").train.schedule
    assert isinstance(schedule, CosineScheduleConfig)
    assert schedule.final == 0.1
    assert read("train.ema.decay=0.9").train.ema == EMAConfig(decay=0.9)
    assert read("train.ema=null", "train.ema.decay=0.9").train.ema == EMAConfig(decay=0.9)


def test_lists_are_changed_by_index() -> None:
    config = read("data.train.augment=[{type: flip}]", "data.train.augment.0.probability=1")
    assert config.data.train.augment == (FlipConfig(type="flip", probability=1),)  # type: ignore[union-attr]
    assert read("data.classes.1=rat").data.classes == ("cat", "rat")


MISTAKES = [
    ("train.epochs=x", 'x: train.epochs: expected a whole number of at least 1, got text "x"'),
    ("train.epoch=3", 'override train.epoch=3: train.epoch: unknown key; did you mean "epochs"?'),
    ("train.lr=3", "override train.lr=3: train.lr: unknown key; there is train.optimizer.lr"),
    ("trian.epochs=3", 'override trian.epochs=3: trian: unknown key; did you mean "train"?'),
    ("train.epochs.x=3", "override train.epochs.x=3: train.epochs: expected a whole number"),
    ("version.x=3", "override version.x=3: version: holds 1, which has no key x"),
    ("data.classes.7=x", "data.classes.7=x: data.classes.7: expected an index below 2, or replace"),
    ("data.classes.x=x", "override data.classes.x=x: data.classes.x: expected an index below 2"),
    ("train.optimizer={type: adamw, lr: 1, momentum: 0.9}", "override train.optimizer={type: adamw, "
     "lr: 1, momentum: 0.9}: train.optimizer.momentum: unknown key for type adamw; it belongs to sgd."),
    ("train.optimizer={lr: 1, lr: 2, type: sgd}", "override train.optimizer={lr: 1, lr: 2, type: sgd}: "
     "train.optimizer.lr: repeated key"),
    ("data.train.type=coco", "a.yaml:10: data.train.annotations: missing key: text (The instances JS"),
    ("train.epochs", 'override "train.epochs": expected key.sub=value, such as train.epochs=3'),
    ("train..epochs=3", 'override "train..epochs=3": expected key.sub=value'),
    ("=3", 'override "=3": expected key.sub=value'),
    ("data.classes=[a", "override data.classes=[a:1:3: not valid YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), MISTAKES)
def test_mistakes_name_the_override(override: str, message: str) -> None:
    assert message in refused(override)


def test_a_replaced_mapping_no_longer_stands_in_the_file() -> None:
    override = "train.optimizer={type: sgd, lr: x}"
    assert refused(override).startswith(f"override {override}: train.optimizer.lr: expected a number above 0")


def test_a_new_type_refuses_the_keys_of_the_old_one_where_they_stand() -> None:
    assert refused("data.train.type=synthetic").startswith(
        "a.yaml:10: data.train.root: unknown key for type synthetic; it belongs to voc, yolo, image_folder."
    )
