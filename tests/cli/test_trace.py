from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.data.synthetic.dataset import write_synthetic
from detkit.workflows.evaluate import evaluate
from tests.cli.conftest import SYNTHETIC


def test_an_evaluation_says_where_objects_were_lost(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    result = evaluate(run / "config.yaml", SYNTHETIC[-2:], weights=run, out=out, trace=True)
    assert result is not None
    told = json.loads((out / "trace.json").read_text("utf-8"))
    records = result.measured.records
    assert len(told) == records.counts.sum() > 0
    counts = result.to_json()["lost"]
    assert sum(counts.values()) == len(told)
    assert {own["outcome"] for own in told} == set(counts)
    page = (out / "report.html").read_text("utf-8")
    assert "Where objects were lost" in page
    for outcome in set(counts) - {"found"}:
        assert f'href="#lost-{outcome}"' in page
        assert f'id="lost-{outcome}"' in page


def test_objects_that_are_found_are_those_of_the_match_records(run: Path, tmp_path: Path) -> None:
    result = evaluate(run / "config.yaml", SYNTHETIC[-2:], weights=run, out=tmp_path / "eval", trace=True)
    assert result is not None
    assert result.lost is not None
    found = (result.lost.outcomes == "found").sum()
    assert found == result.lost.counts.get("found", 0)
    assert (
        "lost"
        not in evaluate(run / "config.yaml", SYNTHETIC[-2:], weights=run, out=tmp_path / "plain").to_json()
    )  # type: ignore[union-attr]


def test_the_command_prints_each_step(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic(tmp_path / "data", "coco", 1, 1)
    image = next((tmp_path / "data/val").glob("*.jpg"))
    line = ["trace", str(run), str(image), "--labels", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main([*line, "--device", "cpu", "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1. ")
    assert "suppression" in said
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["objects"]
    assert main(["trace", str(run), str(image), "--box", "1,2,three,4", "--class", "ring"]) == 2
    assert "--box: expected four numbers" in capsys.readouterr().err
