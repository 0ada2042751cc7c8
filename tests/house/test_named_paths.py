"""Files, folders, modules and tests that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A changelog also names what is no longer there.
PAGES = [
    page
    for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if page.name != "CHANGELOG.md"
]
TOP = "detkit|tests|tools|benchmarks|configs|docs"
PATH = re.compile(rf"(?<![\w./-])(?:{TOP})/[\w./-]*\w/?")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
MODULE = re.compile(r"(?<![\w./-])detkit(?:\.[a-z_]\w*)+")


def missing_paths(text: str, page: Path) -> list[str]:
    """Return the paths of a page that lie neither in the project nor beside the page."""
    named = {match.rstrip(".") for match in PATH.findall(text)}
    return sorted(
        name for name in named if not any((folder / name).exists() for folder in (ROOT, page.parent))
    )


def missing_modules(text: str) -> list[str]:
    """Return the dotted names of a page whose package is there and lacks their next part."""
    missing = []
    for name in sorted(set(MODULE.findall(text))):
        place, (_, *parts) = ROOT / "detkit", name.split(".")
        while parts and (place / parts[0]).is_dir():
            place = place / parts.pop(0)
        # What follows a module is a name in it; detkit's own are checked by tools/check_docs.py.
        if parts and place != ROOT / "detkit" and not (place / f"{parts[0]}.py").is_file():
            missing.append(name)
    return missing


def missing_tests(text: str) -> list[str]:
    """Return the tests of a page that are not in the file it names."""
    return [
        f"{file}::{name}"
        for file, name in TEST.findall(text)
        if f"\ndef {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not missing_paths(text, page)
    assert not missing_tests(text)
    assert not missing_modules(text)


def test_what_is_not_there_is_found() -> None:
    text = (
        "`detkit/ops/boxes.py`, `detkit/ops/` and `detkit/cli/none.py`; `docs/no/`. In detkit.ops.boxes, "
        "detkit.ops.none and detkit.load; runs/detkit/x"
    )
    assert missing_paths(text, ROOT / "README.md") == ["detkit/cli/none.py", "docs/no/"]
    assert missing_modules(text) == ["detkit.ops.none"]
    here = "tests/house/test_named_paths.py"
    named = f"{here}::test_none {here}::test_what_is_not_there_is_found"
    assert missing_tests(named) == [f"{here}::test_none"]
