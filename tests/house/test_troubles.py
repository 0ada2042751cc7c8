"""The page on known troubles names tests; they must be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "troubles.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        named = re.findall(r"`([a-z_]+/[a-z_/]+): (\w+)`", row)
        assert named, row
        for file, test in named:
            text = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
            assert f"def test_{test}(" in text, f"{file}: {test}"
