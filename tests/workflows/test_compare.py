from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.errors import UserError
from detkit.evaluation.measure import measure
from detkit.runs.results import read_run
from detkit.workflows.compare import compare
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
