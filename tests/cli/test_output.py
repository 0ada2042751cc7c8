from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detkit.cli.output import STDOUT, aligned, deliver
from detkit.errors import UserError

ODD = "\x1b[31m\x07\x7f\u202e\ud800\n猫"


def test_lines_are_shown_and_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    deliver({}, None, [f"{ODD} found", "x" * 5_000_000])
    said = capsys.readouterr().out
    assert said.startswith("\\u001b[31m\\u0007\\u007f\\u202e\\ud800\\u000a猫 found\nxxx")
    assert len(said) < 1000


def test_documents_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    deliver({}, None, ["x" * 10_000], is_document=True)
    assert capsys.readouterr().out == "x" * 10_000 + "\n"


@pytest.mark.parametrize("result", [{ODD: [ODD, float("nan"), None, {"a": 0.1}]}, {}])
def test_json_is_the_same_on_a_terminal_and_in_a_file(
    result: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected = {key: [None if str(one) == "nan" else one for one in value] for key, value in result.items()}
    deliver(result, STDOUT, ["not this"])
    said = capsys.readouterr().out
    assert json.loads(said) == expected
    assert said.replace("\n", "").isprintable()
    deliver(result, str(tmp_path / "r.json"), [])
    assert (tmp_path / "r.json").read_text("utf-8") == said


@pytest.mark.parametrize("records", [[], [{"a": ODD}], [{"a": [1, {"b": 2.5}]}, {}, {"c": "é"}]])
def test_records_that_come_one_by_one_are_written_like_a_list(
    records: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    def one_by_one() -> Iterator[dict[str, Any]]:
        yield from records

    deliver(records, STDOUT, [])
    expected = capsys.readouterr().out
    deliver(one_by_one(), STDOUT, [])
    assert capsys.readouterr().out == expected
    assert json.loads(expected) == records


def test_a_long_name_does_not_push_a_table_away() -> None:
    lines = aligned([("class", ["AP"]), ("x" * 5_000_000, ["0.5"]), ("a\nb\x1b", ["0.25"])])
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) < 300
    assert lines[1].endswith(" 0.5")
    assert lines[2].startswith("a\\u000ab\\u001b ")


def test_a_json_file_that_cannot_be_written_is_named_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(UserError) as caught:
        deliver({}, str(tmp_path / "r.json"), [])
    assert str(caught.value).startswith(f"--json {tmp_path / 'r.json'}: ")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("", ["AP", "b"]), ("cat", ["0.5", "1"]), ("horse", ["0", "1.25"])]) == [
        "        AP     b",
        "cat    0.5     1",
        "horse    0  1.25",
    ]
