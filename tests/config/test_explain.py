"""What keys mean, and the schema for editors."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from detkit.config.explain import describe, explain, schema
from detkit.config.keys import every_key
from detkit.config.load import config_names, find_config
from detkit.config.schema import Config
from detkit.errors import UserError


@pytest.mark.parametrize("key", sorted({name for name, *_ in every_key(Config)}))
def test_every_key_can_be_explained(key: str) -> None:
    for meaning in describe(key):
        assert meaning.description, "a key without a description"
        assert meaning.holds
    assert explain(key).startswith(f"{key}\n")


def test_types_with_the_same_meaning_stand_together() -> None:
    flips = describe("data.train.augment.probability")
    assert [m.types for m in flips] == [
        ("flip", "random_crop", "zoom_out", "color_jitter", "noise", "affine", "lens_distortion")
    ]
    decays = {m.types: m.default for m in describe("train.optimizer.weight_decay")}
    assert decays == {("sgd",): "0.0001", ("adamw",): "0.05"}


def test_defaults_of_a_pyramid_are_named() -> None:
    assert "null with neck: {type: fpn}" in explain("detector.proposals.border_px")
    assert "[[32], [64], [128], [256], [512]] with neck" in explain("detector.proposals.anchors.sizes_px")
    assert describe("detector.proposals.fg_iou")[0].default_with_fpn is None


def test_a_prefix_lists_what_it_holds() -> None:
    assert dict(describe("data.resize")[0].keys) == {
        "short_px": "Length of the short side in pixels",
        "long_px": "Upper limit of the long side in pixels",
        "like": "Whose way to resize: detkit's averages pixels where an image shrinks and keeps them bytes; "
        "pillow's is the same but for the last bit (detectron2); opencv's samples between bytes "
        "(MMDetection); torchvision's samples between normalised pixels and rounds sides down; so does that "
        "of Caffe's Fast and Faster R-CNN, which rounds to the nearest and has a mean of its own",
    }
    assert "type: vgg" in explain("detector.backbone")
    assert "detector" in explain()


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("train.lr", "there is train.optimizer.lr"),
        ("train.epoch", 'did you mean "train.epochs"?'),
        ("qqq", "no such key; detkit config explain"),
    ],
)
def test_unknown_keys_are_guessed(key: str, guess: str) -> None:
    with pytest.raises(UserError) as caught:
        explain(key)
    assert guess in str(caught.value)


def test_schema_is_valid_and_accepts_what_is_shipped() -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    checker = jsonschema.Draft202012Validator(made)
    for name in config_names():
        checker.validate(yaml.safe_load(find_config(name).read_text(encoding="utf-8")))
    assert not checker.is_valid({"version": 1})
