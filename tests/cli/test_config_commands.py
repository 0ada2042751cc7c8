"""`detkit config show | schema | explain`."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from detkit.__main__ import main
from detkit.config.load import load_config, parse_config

NAME = "faster_rcnn_vgg16_voc07"


def test_show_prints_a_config_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", NAME, "train.epochs=3", "--comments"]) == 0
    assert parse_config(capsys.readouterr().out) == load_config(NAME, ["train.epochs=3"])


def test_show_as_json_fits_the_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["config", "schema", "--json", str(tmp_path / "schema.json")]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "schema.json").read_text("utf-8"))
    assert main(["config", "show", NAME, "--json", "-"]) == 0
    shown = json.loads(capsys.readouterr().out)
    jsonschema.validate(shown, json.loads((tmp_path / "schema.json").read_text("utf-8")))
    assert shown["train"]["optimizer"]["lr"] == 0.001


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "explain", "train.optimizer.lr"]) == 0
    assert "a number above 0" in capsys.readouterr().out
    assert main(["config", "explain", "detector.proposals.border_px", "--json", "-"]) == 0
    (meaning,) = json.loads(capsys.readouterr().out)["meanings"]
    assert meaning["default"] == "0"
    assert meaning["default_with_fpn"] == "null"
    assert main(["config", "explain", "train.lr"]) == 2
    assert "there is train.optimizer.lr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "message"), [(".", "is a folder"), ("file.txt/x.json", "no file can be made in")]
)
def test_json_files_that_cannot_be_written(
    target: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file.txt").touch()
    assert main(["config", "schema", "--json", str(tmp_path / target)]) == 2
    assert message in capsys.readouterr().err
