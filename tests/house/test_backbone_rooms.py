"""A backbone is one folder and one line: nothing else in the package knows its name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from detkit.models.backbones.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
BACKBONES = ROOT / "detkit/models/backbones"
NAMES = re.compile("|".join(family.name for family in FAMILIES), re.IGNORECASE)
# Shipped configs that a command starts from, the network of the lineage unless the user names one, published
# detectors whose weights are read, and what a paper measured its times with.
ALLOWED = re.compile(
    r"(faster_rcnn|fasterrcnn|fast_rcnn|rcnn|sppnet|dpm_cnn|overfeat|classifier|localizer)_resnet\w+|\bresnet18\b"
    r"|VGG16 on a K40"
)
ROOMS = {BACKBONES / family.name for family in FAMILIES}
# A detector's config names the network of its paper, which is its default, and what reads or writes another
# program's files knows what is in them.
PAPERS = set((ROOT / "detkit/detectors").glob("*/config.py"))
PAPERS |= set((ROOT / "detkit/detectors/faster_rcnn").glob("*torchvision.py"))
PAPERS |= {ROOT / "detkit/workflows/import_model.py"}
PAPERS |= set((ROOT / "detkit/detectors/toolkits").glob("*.py"))
SOURCES = [
    path
    for path in sorted((ROOT / "detkit").rglob("*.py"))
    if path != BACKBONES / "families.py" and not ROOMS & set(path.parents) and path not in PAPERS
]


def words_of_code(tree: ast.AST) -> list[str]:
    """Return the names and texts of a program without its docstrings."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    words: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) | ast.alias(name=word):
                words.append(word)
            case ast.FunctionDef(name=word) | ast.ClassDef(name=word) | ast.keyword(arg=str(word)):
                words.append(word)
            case ast.ImportFrom(module=str(word)):
                words.append(word)
            case ast.Constant(value=str(word)) if id(node) not in prose:
                words.append(word)
    return words


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_names_a_backbone(path: Path) -> None:
    words = words_of_code(ast.parse(path.read_text(encoding="utf-8")))
    assert not [word for word in words if NAMES.search(ALLOWED.sub("", word))]
