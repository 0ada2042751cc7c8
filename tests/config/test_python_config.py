"""A config as a Python caller gives it: a path, a mapping or a config, with changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from detkit.config.load import as_config, load_config
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.errors import UserError
from detkit.models.roi.config import TwoFcHeadConfig
from detkit.spec import OwnPart

SMALL = Path(__file__).parent / "small.yaml"


def content() -> dict[str, Any]:
    """What tests/config/small.yaml holds, as a Python caller writes it."""
    loaded: dict[str, Any] = yaml.safe_load(SMALL.read_text(encoding="utf-8").replace("1e-2", "0.01"))
    return loaded


def test_a_config_stays_as_it_is() -> None:
    config = load_config("faster_rcnn_resnet18_synthetic")
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("form", ["path", "text", "mapping", "config"])
def test_a_python_caller_gives_a_path_a_mapping_or_a_config(form: str) -> None:
    wanted = load_config(SMALL, ["train.epochs=5", "train.optimizer.lr=0.5", "seed=7"])
    forms: dict[str, Any] = {
        "path": SMALL,
        "text": str(SMALL),
        "mapping": content(),
        "config": load_config(SMALL),
    }
    assert as_config(forms[form], {"train.optimizer.lr": 0.5}, {"epochs": 5, "seed": 7}) == wanted
    assert as_config(forms[form], ["train.optimizer.lr=0.5"], {"epochs": 5, "seed": 7}) == wanted
    assert as_config(forms[form]) == load_config(SMALL)


def test_a_mapping_may_hold_configs_and_tuples() -> None:
    mapping = content() | {"detector": FasterRCNNConfig(head=TwoFcHeadConfig(channels=64))}
    config = as_config(mapping, {"detector.head.channels": 32})
    assert isinstance(config.detector, FasterRCNNConfig)
    assert config.detector == FasterRCNNConfig(head=TwoFcHeadConfig(channels=32))


def test_a_module_of_the_callers_own_survives_changes() -> None:
    part = object()
    detector = FasterRCNNConfig(backbone=OwnPart(part=part), head=TwoFcHeadConfig())
    config = as_config(content() | {"detector": detector}, {}, {"epochs": 2})
    assert isinstance(config.detector, FasterRCNNConfig)
    assert isinstance(config.detector.backbone, OwnPart)
    assert config.detector.backbone.part is part


@pytest.mark.parametrize(
    ("overrides", "settings", "message"),
    [
        ({}, {"epoch": 3}, r"train\.epoch: unknown key.*epochs"),
        ({"detector.hat": 1}, {}, r"detector\.hat: unknown key.*head"),
        ({}, {"epochs": "three"}, r"train\.epochs: .*whole number.*three"),
        ({}, {"epochs": object()}, "cannot be written to a config"),
    ],
)
def test_changes_are_checked_as_a_file_is(
    overrides: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        as_config(SMALL, overrides, settings)
    with pytest.raises(UserError, match=message):
        as_config(content(), overrides, settings)
