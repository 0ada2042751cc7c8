"""The commands end to end on a few small pictures: flags, files, JSON keys and exit statuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest

from detkit.__main__ import main
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from tests.cli.conftest import CONFIG, SMALL, SYNTHETIC


def read_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what went to stdout, which is one JSON value and nothing else."""
    return json.loads(capsys.readouterr().out)


def test_a_run_leaves_its_files(run: Path) -> None:
    names = {file.name for file in run.iterdir()}
    assert {"config.yaml", "model.safetensors", "last.pt", "metrics.jsonl", "report.html"} <= names
    for line in (run / "metrics.jsonl").read_text("utf-8").splitlines():
        assert {"step", "epoch", "split"} <= set(json.loads(line))


def test_the_config_of_a_run_is_enough_to_evaluate_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, out = str(run / "model.safetensors"), str(run.parent / "eval")
    assert main(["eval", str(run / "config.yaml"), "--weights", weights, "--out", out, "--json", "-"]) == 0
    result = read_json(capsys)
    assert set(result) == {"metric", "stats", "per_class", "map_voc07", "map_voc10", "seconds"}
    assert " ".join(result["stats"]) == "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl"
    assert set(result["per_class"]["disc"]) == {"AP", "AP50", "AP75", "voc07", "voc10"}
    assert (Path(out) / "detections.json").is_file()


def test_evaluation_by_voc_rules(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", str(run / "config.yaml"), "evaluate.metric=voc07"]
    weights = str(run / "model.safetensors")
    assert main([*arguments, "--weights", weights, "--out", str(run.parent / "voc"), "--json", "-"]) == 0
    result = read_json(capsys)
    assert {"metric", "map", "ap", "map_voc07", "map_voc10", "stats", "per_class", "seconds"} == set(result)
    assert result["map"] == result["map_voc07"]
    assert result["metric"] == "voc07"
    assert len(result["ap"]) == 5


@pytest.mark.parametrize("file_format", ["json", "coco", "voc", "yolo", "csv"])
def test_predict(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file_format: str) -> None:
    write_synthetic(tmp_path / "shapes", "yolo", 2, 1)
    (pictures,) = {file.parent for file in (tmp_path / "shapes").rglob("train_*.jpg")}
    arguments = ["predict", str(run / "model.safetensors"), str(pictures), "--out", str(tmp_path / "found")]
    options = ["--format", file_format, "--threshold", "0.01", "--device", "cpu", "--draw", "--json", "-"]
    assert main([*arguments, *options]) == 0
    records = read_json(capsys)
    assert len(records) == 2
    for record in records:
        assert set(record) == {"image", "width", "height", "frame", "time_s", "detections", "error"}
        for found in record["detections"]:
            assert set(found) == {"box", "label", "category_id", "score"}
            assert len(found["box"]) == 4
    assert len(list((tmp_path / "found" / "drawn").rglob("*.jpg"))) == 2


def test_a_cascade_looks_at_several_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every_score = "detector.head.score_threshold=0"
    trained = ["train", "cascade_rcnn_resnet18_synthetic", *SYNTHETIC, every_score, "--out"]
    assert main([*trained, str(tmp_path / "run")]) == 0
    cv2.imwrite(str(tmp_path / "one.png"), SyntheticSet(1, seed=5).render(0)[..., ::-1])
    capsys.readouterr()
    scores = []
    for options in ([], ["--augment"]):
        out = tmp_path / f"found{len(options)}"
        given = ["predict", str(tmp_path / "run"), str(tmp_path / "one.png"), "--out", str(out)]
        assert main([*given, "--threshold", "0", "--device", "cpu", "--json", "-", *options]) == 0
        (one,) = read_json(capsys)
        scores.append([found["score"] for found in one["detections"]])
        assert out.is_dir()
    assert all(scores)
    assert scores[0] != scores[1]


def test_thresholds_of_a_training_are_used_by_name_or_when_none_is_given(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "shapes", "yolo", 1, 1)
    arguments = ["predict", str(run / "model.safetensors"), str(tmp_path / "shapes"), "--device", "cpu"]
    found = []
    for number, threshold in enumerate([[], ["--threshold", "f1"], ["--threshold", "recall"]]):
        out = str(tmp_path / str(number))
        assert main([*arguments, *threshold, "--out", out, "--json", "-"]) == 0
        found.append(read_json(capsys))
    assert found[0] == found[1]
    assert main([*arguments, "--threshold", "most", "--out", str(tmp_path / "none")]) == 2
    assert "one of f1, precision, recall; got 'most'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_results_for_people(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = str(run / "model.safetensors")
    assert main(["eval", str(run / "config.yaml"), "--weights", weights, "--out", str(tmp_path / "e")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.split("  +", said[0]) == ["class", "COCO AP", "COCO AP50", "COCO AP75", "VOC07 AP", "VOC10 AP"]
    assert "report.html" in said[-1]


def test_show_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-data", CONFIG, *SYNTHETIC, "--out", str(tmp_path / "look"), "--json", "-"]) == 0
    result = read_json(capsys)
    assert result["batches"]
    assert all(Path(batch["picture"]).is_file() for batch in result["batches"])


@pytest.mark.parametrize("dataset_format", ["voc", "coco", "yolo"])
def test_init_writes_a_config_that_trains(
    dataset_format: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "shapes", dataset_format, 4, 2)
    config = str(tmp_path / "mine.yaml")
    arguments = ["init", str(tmp_path / "shapes"), "--detector", "faster_rcnn_resnet18_c4", "-o", config]
    assert main([*arguments, "--json", "-"]) == 0
    result = read_json(capsys)
    assert result["format"] == dataset_format
    assert result["images"] == {"train": 4, "val": 2}
    changes = [*SMALL, "detector.backbone.weights=none", "--out", str(tmp_path / "run")]
    assert main(["train", config, *changes, "--json", "-"]) == 0
    assert read_json(capsys)["evaluation"]["metric"]


def test_resume_goes_on_and_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["train", CONFIG, *SYNTHETIC, "--out", out]) == 0
    changed = [*SYNTHETIC, "train.epochs=2"]
    capsys.readouterr()
    assert main(["train", CONFIG, *changed, "--out", out, "--resume", "--json", "-"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["steps"] == 2
    assert "train.epochs" in output.err
