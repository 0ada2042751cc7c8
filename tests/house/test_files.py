"""House rules that a linter does not know."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "detkit").rglob("*.py"))
TEXTS = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "docs").rglob("*.md"))]
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
MAX_LINES = 400
MAX_BODY = 40


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_holds_one_idea(path: Path) -> None:
    assert path.stem not in VAGUE, "a name that says nothing attracts everything"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines; split it by idea"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_fit_a_screen(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert length <= MAX_BODY, f"{node.name} has a body of {length} lines"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "__init__.py"], ids=name_of)
def test_packages_import_nothing(path: Path) -> None:
    """The top level loads its public names lazily; every other package is empty but for its docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if path.parent.name != "detkit":
        assert len(tree.body) == 1


def test_every_source_file_is_tested_where_it_is_looked_for() -> None:
    """Tests mirror the packages: a package without a test folder is untested."""
    packages = {p.parent.relative_to(ROOT / "detkit") for p in SOURCES if p.name != "__init__.py"}
    missing = [str(p) for p in packages if p != Path() and not list((ROOT / "tests" / p).rglob("test_*.py"))]
    assert not missing


def test_nothing_is_left_to_be_done_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    left = [name_of(p) for p in TEXTS if p != Path(__file__) and marks.search(p.read_text(encoding="utf-8"))]
    assert not left
