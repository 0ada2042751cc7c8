from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.__main__ import main
from detkit.errors import UserError
from detkit.evaluation.analysis.compare import Comparison, Difference
from detkit.evaluation.measure import RULES, measure
from detkit.runs.results import read_run
from detkit.workflows import compare as workflow
from detkit.workflows.compare import RunComparison, compare
from tests.reference.small_scene import scene
from tests.workflows.made_run import make_run

WITHOUT_STARS = ("data.classes=[disc, ring, square, triangle]", "data.ignore_classes=[star]")


def test_a_real_gain_is_told_from_luck(tmp_path: Path) -> None:
    weak, strong = make_run(tmp_path / "weak", 0.4), make_run(tmp_path / "strong", 0.95, 1)
    twin = make_run(tmp_path / "twin", 0.4, 2)
    gain = compare(weak, strong)
    assert not gain.result.total.within_noise
    assert gain.conclusions()[-1] == f"all together, {strong} is better than {weak}, beyond the noise"
    assert (
        compare(strong, weak).conclusions()[-1].endswith(f"{weak} is worse than {strong}, beyond the noise")
    )
    assert "the difference is inside the noise" in compare(weak, twin).conclusions()[-1]


def test_every_class_is_in_the_table_with_its_verdict(tmp_path: Path) -> None:
    same = make_run(tmp_path / "a", 0.6)
    result = compare(same, same)
    heading, *rows, total = result.table()
    assert heading[1] == ["first", "second", "difference", "95% interval", ""]
    assert [name for name, _ in rows] == list(result.classes)
    for _, cells in (*rows, total):
        assert cells[0] == cells[1]
        assert cells[2:] == ["+0.0000", "+0.0000 to +0.0000", "inside the noise"]
    assert f"inside the noise: {', '.join(result.classes)}" in result.conclusions()


@pytest.mark.parametrize("metric", ["voc07", "voc10", "coco"])
def test_the_numbers_are_those_of_the_first_runs_metric(tmp_path: Path, metric: str) -> None:
    first = make_run(tmp_path / "a", 0.7, 0, f"evaluate.metric={metric}")
    second = make_run(tmp_path / "b", 0.5, 1)
    result = compare(first, second).to_json()
    assert set(result) == {"metric", "level", "first", "second", "delta", "low", "high", "per_class"}
    assert result["metric"] == metric
    for name, folder in (("first", first), ("second", second)):
        run = read_run(folder)
        measured = measure(run.source.annotations, run.found, metric)  # type: ignore[arg-type]
        assert result[name] == pytest.approx(measured.value, abs=1e-9)
        ours = [one[name] for one in result["per_class"].values()]
        assert ours == pytest.approx(measured.per_class.tolist(), abs=1e-9)
    for one in (result, *result["per_class"].values()):
        assert one["low"] <= one["delta"] <= one["high"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("data.val.num_images=31",), "1 are in one of them only"),
        (WITHOUT_STARS, "the first looked for disc, ring, square, star, triangle, the second for disc"),
        (("data.val.seed=9",), "their labels differ"),
    ],
)
def test_runs_judged_by_other_images_are_refused(
    tmp_path: Path, change: tuple[str, ...], reason: str
) -> None:
    runs = make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.5, 0, *change)
    with pytest.raises(UserError, match=f"not evaluated on the same labelled images: {reason}"):
        compare(*runs)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.5)
    with pytest.raises(UserError, match=r"nothing: has no config\.yaml"):
        compare(run, tmp_path / "nothing")
    (run / "detections.json").unlink()
    with pytest.raises(UserError, match=r"a: has no detections\.json"):
        compare(run, run)


def test_a_class_without_objects_is_not_applicable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "a", 0.6, 0, "data.val.num_images=1")
    truth = read_run(run).source.annotations
    absent = [name for k, name in enumerate(truth.classes) if k not in truth.labels]
    assert absent
    file = tmp_path / "result.json"
    assert main(["compare", str(run), str(run), "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"n/a: {', '.join(absent)}" in said.splitlines()
    assert "nan" not in said
    per_class = json.loads(file.read_text("utf-8"))["per_class"]
    assert all(per_class[name]["delta"] is None for name in absent)


def difference(first: float, second: float, low: float, high: float) -> Difference:
    return Difference(first, second, low, high)


BETTER, WORSE = difference(0.5, 0.75, 0.125, 0.375), difference(0.75, 0.5, -0.375, -0.125)
NOISE, NOTHING = difference(0.5, 0.5625, -0.125, 0.25), difference(*[math.nan] * 4)


def compared(total: Difference) -> RunComparison:
    result = Comparison("voc07", 0.95, total, (BETTER, WORSE, NOISE, BETTER, NOTHING))
    return RunComparison(Path("a"), Path("b"), ("cat", "dog", "emu", "fox", "gnu"), 12, result)


@pytest.mark.parametrize(
    ("total", "sentence"),
    [
        (BETTER, "all together, b is better than a, beyond the noise"),
        (WORSE, "all together, b is worse than a, beyond the noise"),
        (
            NOISE,
            "all together, the difference is inside the noise: other images could have turned the order "
            "round",
        ),
        (NOTHING, "all together, there is nothing to compare: no object is labelled"),
    ],
)
def test_conclusions_in_full(total: Difference, sentence: str) -> None:
    assert compared(total).conclusions() == [
        f"AP by {RULES['voc07']}, on 12 images, resampled",
        "first: a   second: b",
        "better: cat, fox",
        "worse: dog",
        "inside the noise: emu",
        "n/a: gnu",
        sentence,
    ]


def test_the_table_in_full() -> None:
    assert compared(NOISE).table() == [
        ("class", ["first", "second", "difference", "95% interval", ""]),
        ("cat", ["0.5000", "0.7500", "+0.2500", "+0.1250 to +0.3750", "better"]),
        ("dog", ["0.7500", "0.5000", "-0.2500", "-0.3750 to -0.1250", "worse"]),
        ("emu", ["0.5000", "0.5625", "+0.0625", "-0.1250 to +0.2500", "inside the noise"]),
        ("fox", ["0.5000", "0.7500", "+0.2500", "+0.1250 to +0.3750", "better"]),
        ("gnu", ["n/a", "n/a", "n/a", "n/a to n/a", "n/a"]),
        ("mean", ["0.5000", "0.5625", "+0.0625", "-0.1250 to +0.2500", "inside the noise"]),
    ]


def test_the_numbers_in_full() -> None:
    found = compared(NOISE).to_json()
    numbers = {"first": 0.5, "second": 0.5625, "delta": 0.0625, "low": -0.125, "high": 0.25}
    assert {key: value for key, value in found.items() if key != "per_class"} == {
        "metric": "voc07", "level": 0.95, **numbers,
    }  # fmt: skip
    assert list(found["per_class"]) == ["cat", "dog", "emu", "fox", "gnu"]
    assert found["per_class"]["emu"] == numbers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"classes": ("x", "y")}, "the first looked for a, b, c, the second for x, y"),
        ({"image_files": ["1.jpg", "0.jpg"]}, "they come in another order"),
        ({"image_files": ["0.jpg", "2.jpg"]}, "2 are in one of them only, such as 1.jpg"),
        ({"image_files": ["0.jpg", "3.jpg"]}, "2 are in one of them only, such as 1.jpg"),
        ({"boxes": np.zeros((1, 4))}, "their labels differ"),
        ({"difficult": np.ones(1, bool)}, "their labels differ"),
        ({"crowd": np.ones(1, bool)}, "their labels differ"),
        ({"box_format": "voc"}, "their labels differ"),
    ],
)
def test_what_tells_two_sets_of_images_apart(change: dict[str, Any], said: str | None) -> None:
    truth, _ = scene([("a", (10, 10, 50, 50))], [])
    one = replace(truth, image_files=np.array(["0.jpg", "1.jpg"]), box_format="coco")
    change = {key: np.array(value) if key == "image_files" else value for key, value in change.items()}
    assert workflow._difference_of_truth(one, replace(one, **change)) == said
