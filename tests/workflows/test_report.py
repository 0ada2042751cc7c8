from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.errors import UserError
from detkit.workflows.report import report
from tests.workflows.made_run import make_run

LINES = (
    {"step": 1, "epoch": 0, "split": "train", "lr": 0.1, "box": 2.0, "images_per_second": 9.0},
    {"step": 2, "epoch": 0, "split": "train", "lr": 0.1, "box": 1.0, "images_per_second": 9.0},
    {"step": 2, "epoch": 0, "split": "val", "AP": 0.5},
)


def test_a_report_is_made_again_from_the_files_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", 0.6)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES), encoding="utf-8")
    (run / "report.html").write_text("old", encoding="utf-8")
    assert main(["report", str(run), "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["report"] == str(run / "report.html")
    assert result["stats"]["AP"] > 0
    page = (run / "report.html").read_text("utf-8")
    for part in ("<title>run</title>", "Learning rate", "training set", "Score thresholds", "validation set"):
        assert part in page
    assert {file.name for file in run.iterdir()} == {
        "config.yaml", "detections.json", "metrics.jsonl", "report.html",
    }  # fmt: skip


def test_it_shows_the_command_of_the_training_and_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["detkit", "report", "run"])
    run = make_run(tmp_path / "run", 0.6)
    assert "detkit report" not in report(run).file.read_text("utf-8")  # nothing is known: nothing is claimed
    noted = {"command": "detkit train my.yaml --out <b>", "torch": "2.11.9"}
    (run / "made_with.json").write_text(json.dumps(noted), encoding="utf-8")
    for _ in range(2):
        page = report(run).file.read_text("utf-8")
        assert "detkit train my.yaml --out &lt;b&gt;" in page
        assert "2.11.9" in page
        assert "detkit report" not in page
    (run / "made_with.json").write_text("[{", encoding="utf-8")
    assert "detkit" in report(run).file.read_text("utf-8")


def test_an_evaluation_has_no_training_to_show(tmp_path: Path) -> None:
    written = report(make_run(tmp_path / "eval", 0.6, 0, "evaluate.metric=voc07"))
    page = written.file.read_text("utf-8")
    assert written.measured.voc is not None
    assert "Learning rate" not in page
    assert "training set" not in page


def test_an_old_report_stays_when_the_run_cannot_be_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0.6)
    (run / "report.html").write_text("old", encoding="utf-8")
    (run / "detections.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(UserError, match=r"detections\.json"):
        report(run)
    assert (run / "report.html").read_text("utf-8") == "old"
