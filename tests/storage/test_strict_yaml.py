"""What a YAML value means, and where it stands."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detkit.errors import UserError
from detkit.storage.strict_yaml import read_yaml, read_yaml_file, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("+12", 12),
        ("0", 0),
        ("0.0", 0.0),
        ("00", "00"),
        ("0777", "0777"),
        ("0o17", "0o17"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2007-01-01", "2007-01-01"),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("Yes", "Yes"),
        ("n", "n"),
        ("~", None),
        ("", None),
        ("null", None),
        ("'12'", "12"),
        ('"true"', "true"),
        (".inf", math.inf),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_value_means_what_it_looks_like(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}", "a.yaml").value["key"]
    assert read == value
    assert type(read) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18))
def test_every_number_python_writes_is_read_back(number: float) -> None:
    assert resolve(repr(number)) == number


def test_keys_know_their_lines() -> None:
    text = "a: 1\nb:\n  - c: 2\n  - 3\nd: {e: 4,\n  f: 5}\n"
    places = read_yaml(text, "a.yaml").places
    assert places == {
        ("a",): "a.yaml:1",
        ("b",): "a.yaml:2",
        ("b", 0): "a.yaml:3",
        ("b", 0, "c"): "a.yaml:3",
        ("b", 1): "a.yaml:4",
        ("d",): "a.yaml:5",
        ("d", "e"): "a.yaml:5",
        ("d", "f"): "a.yaml:6",
    }


def test_anchors_are_copied_and_nothing_is_shared() -> None:
    value = read_yaml("a: &x [1, 2]\nb: *x\n", "a.yaml").value
    assert value == {"a": [1, 2], "b": [1, 2]}
    assert value["a"] is not value["b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "repeated key; it stands in line 1 already"),
        ("a: &x {c: 1}\nb:\n  <<: *x\n", "<< (merge) is not allowed"),
        ("? [1, 2]\n: 3\n", "a key must be text"),
    ],
)
def test_what_is_refused_is_reported_with_its_line(text: str, message: str) -> None:
    (problem,) = read_yaml(text, "a.yaml").problems
    assert message in problem.message
    assert problem.place == f"a.yaml:{1 if text.startswith('?') else 3}"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "a.yaml:3:2: not valid YAML: expected ',' or ']'"),
        ("a: 1: 2\n", "a.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: not valid YAML: found character '\\t'"),
        ("a: 1\n---\nb: 1\n", "a.yaml:2:1: not valid YAML: but found another document"),
        ("a: !!python/object:os.system x\n", "a.yaml:1:4: not valid YAML: tags such as"),
        ("a: !!int '3'\n", "a.yaml:1:4: not valid YAML: tags such as"),
        ("a: *nothing\n", "a.yaml:1:4: not valid YAML: found undefined alias"),
        ("a: b\x01c\n", "a.yaml:1: a character that YAML does not allow"),
    ],
)
def test_syntax_errors_point_at_the_place(text: str, start: str) -> None:
    with pytest.raises(UserError) as caught:
        read_yaml(text, "a.yaml")
    assert str(caught.value).startswith(start)
    if ":1: a char" not in start:
        assert str(caught.value).splitlines()[-1].strip() == "^"


BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [*x]\n",
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000)),
        BOMB,
        f"{BOMB}? [*a8]\n: 1\n",
        f"{BOMB}? {{*a8 : *a8}}\n: 1\n",
        f"a: {'x' * 1_000_001}",
    ],
    ids=["itself", "lists", "mappings", "blocks", "chain", "grows", "key", "key of keys", "long"],
)
def test_hostile_nesting_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^a\.yaml:") as caught:
        read_yaml(text, "a.yaml")
    assert len(str(caught.value)) < 600


def test_a_config_may_be_nested_as_deep_as_anyone_needs() -> None:
    value = read_yaml("[" * 60 + "]" * 60, "a.yaml").value
    for _ in range(59):
        (value,) = value
    assert value == []


def test_words_stay_as_they_are_written_where_they_are_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("names: [1.10, no, 1e3, null, 007, 'x']\n0: ~\npath:\n")
    read = read_yaml_file(tmp_path / "a.yaml", as_text=True).whole()
    assert read == {"names": ["1.10", "no", "1e3", "null", "007", "x"], "0": "~", "path": ""}


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")
    for name, message in (
        ("absent", "no such file"),
        ("latin", r"not a text file in UTF-8 \(byte 6\)"),
        ("twice", "a: repeated key"),
    ):
        with pytest.raises(UserError, match=rf"{name}\.yaml:.*{message}"):
            read_yaml_file(tmp_path / f"{name}.yaml").whole()
