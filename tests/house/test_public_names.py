"""Every public name says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "detkit").rglob("*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def public_names(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, Named]]:
    for node in body:
        if isinstance(node, Named) and not node.name.startswith("_"):
            if "overload" in map(ast.unparse, node.decorator_list):
                continue  # its implementation says it
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_names(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert not [name for name, node in public_names(tree.body) if not ast.get_docstring(node)]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_lists_of_public_names_are_sorted(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == [
            "__all__"
        ]:
            names = ast.literal_eval(node.value)
            assert names == sorted(names)


def test_no_folder_attracts_everything() -> None:
    assert not {part for path in SOURCES for part in path.relative_to(ROOT).parts[:-1]} & VAGUE
