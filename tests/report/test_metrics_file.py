from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.errors import UserError
from detkit.report.metrics_file import read_metrics, training_plots

RECORDS = [
    {
        "step": 1,
        "epoch": 0.1,
        "split": "train",
        "lr": 0.01,
        "head_box": 0.5,
        "head_class": 1.5,
        "images_per_second": 3,
    },
    {
        "step": 2,
        "epoch": 0.2,
        "split": "train",
        "lr": 0.02,
        "head_box": 0.25,
        "head_class": 0.75,
        "images_per_second": 3,
    },
    {"step": 2, "epoch": 1, "split": "val", "map_voc07": 0.25, "AP": None, "APs": 0.1, "seconds": 17.0},
    {"step": 4, "epoch": 2, "split": "val", "map_voc07": 0.5, "AP": 0.4, "APs": 0.1, "seconds": 16.0},
    {"step": 6, "epoch": 3, "split": "val", "map_voc07": 0.5, "AP": 0.5, "APs": 0.1, "seconds": 16.0},
    {"step": 8, "epoch": 4, "split": "val", "map_voc07": 0.125, "AP": 0.25, "APs": 0.1, "seconds": 16.0},
]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_losses_metrics_and_rate_get_a_plot_each(tmp_path: Path) -> None:
    records = read_metrics(write(tmp_path / "metrics.jsonl", *map(json.dumps, RECORDS)))
    loss, metric, rate = training_plots(records, "map_voc07")
    assert [curve.name for curve in loss.curves] == ["total", "head_box", "head_class"]
    assert loss.curves[0].y.tolist() == [2.0, 1.0]
    assert [curve.name for curve in metric.curves] == ["VOC07 AP", "COCO AP"]
    assert metric.curves[0].x.tolist() == [1, 2, 3, 4]
    assert metric.curves[1].y.tolist() == [0.4, 0.5, 0.25]
    assert rate.curves[0].y.tolist() == [0.01, 0.02]


def test_a_record_without_a_number_is_passed_over() -> None:
    lost = {**RECORDS[1], "step": 3, "head_box": None}
    loss, _ = training_plots([*RECORDS[:2], lost], "AP")
    assert [len(curve.x) for curve in loss.curves] == [2, 2, 2]


@pytest.mark.parametrize(
    ("deciding", "epoch", "figures"), [("map_voc07", 2, [0.5, 0.4]), ("AP", 3, [0.5, 0.5])]
)
def test_the_epoch_that_was_kept_is_marked_and_its_figures_are_shown(
    deciding: str, epoch: int, figures: list[float]
) -> None:
    _, metric, _ = training_plots(RECORDS, deciding)
    assert f"epoch {epoch}, the best" in metric.title
    assert [curve.value for curve in metric.curves] == figures
    assert [curve.mark for curve in metric.curves] == [(epoch, figure) for figure in figures]


def test_no_epoch_is_marked_where_the_deciding_number_was_not_measured() -> None:
    _, metric, _ = training_plots(RECORDS, "top1")
    assert "best" not in metric.title
    assert [(curve.value, curve.mark) for curve in metric.curves] == [(None, None)] * 2


def test_without_records_there_are_no_plots() -> None:
    assert training_plots([], "AP") == ()


def test_an_unfinished_last_line_is_skipped(tmp_path: Path) -> None:
    file = write(tmp_path / "metrics.jsonl", json.dumps(RECORDS[0]), '{"step": 2, "ep')
    assert read_metrics(file) == RECORDS[:1]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "metrics.jsonl", json.dumps(RECORDS[0]), "oops", json.dumps(RECORDS[1]))
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of JSON"):
        read_metrics(file)
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: expected a JSON object, got list"):
        read_metrics(write(file, "[1]"))


@pytest.mark.parametrize("line", ["1" * 10_000, "[" * 100_000, "{"])
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1}}\n{{"step": {line}}}\n{{"step": 3}}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of JSON"):
        read_metrics(file)
