from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from detkit import names as module
from detkit.names import (
    LONGEST,
    distinct_parts,
    encodable,
    file_name,
    file_names,
    message,
    one_file,
    one_line,
    visible,
)

ODD = [
    *("", ".", "..", "../../../../escaped", "a/b", "a\\b", "/etc/passwd", "nul\0byte", "a\nb"),
    *("\x1b[31mred\x1b[0m\x07", "\x9b31m", "\u202egnp.exe", "\ud800", "\udcff", "\x85", "a\u2028b"),
    *("%u002F", "%%u", "%u", " a", "a ", "a\u3000"),
]  # fmt: skip
ORDINARY = [
    "dog",
    "traffic light",
    "50 %",
    "a%20b",
    "a%2Fb",
    ".hidden",
    "-rf",
    "Köln",
    "猫",
    "a:b",
    "x.y",
    "e\u0301",
    "👩\u200d🚀",
]


def name_of(part: str) -> str:
    """Read a name from a part of a path, as the documentation says."""
    if part == "%u":
        return ""
    return re.sub("%u([0-9A-F]{4})", lambda found: chr(int(found[1], 16)), part)


@pytest.mark.parametrize("name", ODD + ORDINARY)
def test_a_name_can_be_read_from_its_part_of_a_path(name: str, tmp_path: Path) -> None:
    part = file_name(name)
    assert name_of(part) == name
    assert part == part.strip()
    assert len(part.splitlines()) == 1
    (tmp_path / part).write_text("here", encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == [part]  # and nowhere else


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("letter", ["x", "é", "猫", "/", "\ud800"])
def test_long_names_are_cut_and_stay_different(letter: str, tmp_path: Path) -> None:
    long = [file_name(letter * 5000 + end) for end in "ab"]
    assert len(set(long)) == 2
    for part in long:
        assert len(part.encode()) <= LONGEST
        (tmp_path / f"{part}.jpeg").touch()
    assert file_name("x" * LONGEST) == "x" * LONGEST
    assert len(file_name("x" * 100, longest=40)) == 40


def test_no_two_odd_names_get_one_part() -> None:
    parts = [file_name(name) for name in ODD + ORDINARY]
    assert len(set(parts)) == len(parts)


def test_names_that_differ_in_case_or_composition_alone_get_parts_that_differ_otherwise() -> None:
    names = ["cat", "Cat", "é", "e\u0301", "straße", "STRASSE", "dog"]
    parts = file_names(names)
    assert len({part.casefold() for part in parts}) == len(names)
    assert parts[-1] == "dog"
    assert file_names(names[::-1]) == parts[::-1]
    assert file_names(["dog", "dog"]) == ["dog", "dog"]


def test_parts_of_different_folders_do_not_clash() -> None:
    assert distinct_parts(["1", "1"], ["a/1.jpg", "b/1.jpg"], ["a", "b"]) == ["1", "1"]
    assert len(set(distinct_parts(["1", "1"], ["a/1.jpg", "a/1.png"], ["a", "a"]))) == 2


def test_what_is_one_file_depends_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_file(["a", "b", "c", "b"], tmp_path) == (1, 3)
    assert one_file([], tmp_path) is None
    for tells, expected in ((True, None), (False, (0, 2))):
        monkeypatch.setattr(module, "_tells_case", lambda folder, tells=tells: tells)
        assert one_file(["a.xml", "b.xml", "A.xml"], tmp_path) == expected
    assert list(tmp_path.iterdir()) == []


def test_what_a_terminal_would_obey_is_shown() -> None:
    text = "".join(map(chr, (*range(32), *range(127, 160), 0x202E, 0x2066, 0xD800, 0xDCFF)))
    for shown in (visible(text), message(text), one_line(text)):
        assert shown.replace("\n", "").isprintable()
        shown.encode()
    assert visible("a\nb\x1b") == "a\nb\\u001b"
    assert one_line("a\nb\x1b") == "a\\u000ab\\u001b"
    assert visible("Köln 猫 👩\u200d🚀") == "Köln 猫 👩\u200d🚀"


def test_json_means_the_same_when_it_is_shown() -> None:
    value = {name: [name] for name in ODD}
    text = visible(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    text.encode()


def test_messages_are_short_whatever_they_name() -> None:
    path = "/".join(["d" * 255] * 8)
    assert message(path) == path
    said = message(f"a.xml: no class {'x' * 5_000_000}!\n")
    assert re.fullmatch(r"a\.xml: no class x+\.\.\.\(4,999,843 more\)\.\.\.x+!\\u000a", said)
    assert len(message("a b/" * 1_000_000)) < 5000
    assert len(message("\x1b" * 1_000_000)) < 5000


def test_lone_surrogates_alone_are_written_as_numbers() -> None:
    assert encodable("a\ud800\x1b\n猫") == "a\\ud800\x1b\n猫"
