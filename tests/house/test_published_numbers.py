"""The page of sources has each config with a published number, and the numbers of its head."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "papers" / "sources.md"
NUMBER = re.compile(r"\d+\.\d+")


def heads() -> dict[str, str]:
    """Return the comment in front of each config, one line of words."""
    found = {}
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        head = file.read_text(encoding="utf-8").partition("version: 1")[0]
        found[file.stem] = " ".join(line.lstrip("# ") for line in head.splitlines())
    return found


def rows() -> list[tuple[list[str], list[str]]]:
    """Return the configs and the numbers of each row of the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    return [(re.findall(r"`(\w+)`", first), NUMBER.findall(second)) for first, second, *_ in cells]


def test_each_config_with_a_published_number_has_one_row() -> None:
    named = [name for names, _ in rows() for name in names]
    assert sorted(named) == [name for name, head in heads().items() if "(published" in head]


def test_heads_have_the_numbers_of_their_rows() -> None:
    said = heads()
    for names, numbers in rows():
        assert numbers
        for name in names:
            assert not set(numbers) - set(NUMBER.findall(said[name])), name


def test_a_published_result_is_marked_as_not_reproduced() -> None:
    for name, head in heads().items():
        for text in re.findall(r"\(published([^)]*)\)", head):
            assert "not reproduced here" in text or "a step" in text, name


def test_the_result_of_a_head_is_in_its_row() -> None:
    said = heads()
    for names, numbers in rows():
        for name in names:
            # What comes first is the result; the other numbers compare or explain.
            result = re.search(r"(?:mAP|Top-1): [^.]*?(\d+\.\d+)", said[name])
            if result and not name.startswith("classifier_"):
                assert result[1] in numbers, name
