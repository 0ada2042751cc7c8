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
    {"step": 2, "epoch": 1, "split": "val", "map": 0.25, "ap_cat": None, "seconds": 17.0},
    {"step": 4, "epoch": 2, "split": "val", "map": 0.5, "ap_cat": 0.5, "seconds": 16.0},
]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_losses_metrics_and_rate_get_a_plot_each(tmp_path: Path) -> None:
    records = read_metrics(write(tmp_path / "metrics.jsonl", *map(json.dumps, RECORDS)))
    loss, metric, rate = training_plots(records)
    assert [curve.name for curve in loss.curves] == ["total", "head_box", "head_class"]
    assert loss.curves[0].y.tolist() == [2.0, 1.0]
    assert [curve.name for curve in metric.curves] == ["map", "ap_cat"]
    assert metric.curves[0].x.tolist() == [1, 2]
    assert metric.curves[0].value == 0.5
    assert metric.curves[1].y.tolist() == [0.5]
    assert rate.curves[0].y.tolist() == [0.01, 0.02]


def test_a_record_without_a_number_is_passed_over() -> None:
    lost = {**RECORDS[1], "step": 3, "head_box": None}
    loss, _ = training_plots([*RECORDS[:2], lost])
    assert [len(curve.x) for curve in loss.curves] == [2, 2, 2]


def test_of_many_metrics_the_first_are_shown() -> None:
    names = [f"m{i}" for i in range(12)]
    (plot,) = training_plots([{"step": 1, "epoch": 1, "split": "val", **dict.fromkeys(names, 0.5)}])
    assert [curve.name for curve in plot.curves] == names[:6]


def test_without_records_there_are_no_plots() -> None:
    assert training_plots([]) == ()


def test_an_unfinished_last_line_is_skipped(tmp_path: Path) -> None:
    file = write(tmp_path / "metrics.jsonl", json.dumps(RECORDS[0]), '{"step": 2, "ep')
    assert read_metrics(file) == RECORDS[:1]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "metrics.jsonl", json.dumps(RECORDS[0]), "oops", json.dumps(RECORDS[1]))
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of JSON"):
        read_metrics(file)
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: expected a JSON object, got list"):
        read_metrics(write(file, "[1]"))
