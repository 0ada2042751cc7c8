from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.errors import UserError
from detkit.training.staged.stages import Stages

NAMES = ("double", "sum")


def writes(content: str, calls: list[str]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        calls.append(content)
        path.write_text(content)

    return make


def test_a_stage_is_done_once_and_says_so(tmp_path: Path) -> None:
    messages: list[str] = []
    calls: list[str] = []
    for _ in range(2):
        stages = Stages(tmp_path, NAMES, messages.append)
        first = stages.run("double", {"x": 1}, writes("2", calls), suffix=".txt")
        second = stages.run("sum", {"double": first, "y": [3, 4]}, writes("9", calls))
    assert calls == ["2", "9"]
    assert first.path == tmp_path / "stages" / f"double-{first.key}.txt"
    assert (first.path.read_text(), second.path.read_text()) == ("2", "9")
    assert messages[0] == "stage 1 of 2, double"
    assert messages[1].startswith("stage 1 of 2, double: done in ")
    assert messages[-1] == "stage 2 of 2, sum: done before"


@pytest.mark.parametrize("changed", [{"x": 2}, {"x": "1"}, {"x": 1, "y": 0}])
def test_other_inputs_make_it_anew_and_what_reads_it(tmp_path: Path, changed: dict[str, Any]) -> None:
    calls: list[str] = []
    for inputs in ({"x": 1}, changed):
        stages = Stages(tmp_path, NAMES, lambda text: None)
        first = stages.run("double", inputs, writes("2", calls))
        second = stages.run("sum", {"double": first}, writes("9", calls))
    assert calls == ["2", "9", "2", "9"]
    assert sorted(file.name for file in (tmp_path / "stages").iterdir()) == [
        first.path.name,
        second.path.name,
    ]


def test_a_stage_that_fails_leaves_no_artefact_but_what_it_had_written(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("1")
        raise UserError("the disk is full")

    def goes_on(path: Path) -> None:
        assert (path / "half").read_text() == "1"
        (path / "whole").write_text("2")

    stages = Stages(tmp_path, NAMES, lambda text: None)
    with pytest.raises(UserError, match="full"):
        stages.run("double", {}, fails)
    assert [file.name[0] for file in (tmp_path / "stages").iterdir()] == ["."]
    made = stages.run("double", {}, goes_on)
    assert sorted(file.name for file in made.path.iterdir()) == ["half", "whole"]
    assert list((tmp_path / "stages").iterdir()) == [made.path]


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    def is_stopped(path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"stopped in stage sum; .* --resume --out .*"):
        Stages(tmp_path, NAMES, lambda text: None).run("sum", {}, is_stopped)
