"""Only a detector's own room knows its name: the rest asks for a capability, or for a fact of its config."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "detkit"
DETECTORS = HOUSE / "detectors"
ROOMS = sorted(path.parent for path in DETECTORS.glob("*/__init__.py"))
HEADS = HOUSE / "models/roi"

# Lists of all detectors. Each file here is one; nothing else may join them.
LISTS = {DETECTORS / "families.py", HOUSE / "config/schema.py"}

IMPORTS, NAMES, CLASSES = "imports a detector", "names a detector", "asks for a head's class"
COMPARES, ASKS, PLAIN = "compares a type", "asks for an attribute by its name", "sees a config"

# What still breaks a rule, and why it may. An entry that is needed no longer fails a test, too.
EXCEPTIONS: dict[tuple[str, str], str] = {}  # (file, rule) -> reason


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def classes(*folders: Path) -> Iterator[ast.ClassDef]:
    for path in sources(*folders):
        yield from (node for node in tree_of(path).body if isinstance(node, ast.ClassDef))


def names_of(*folders: Path) -> frozenset[str]:
    return frozenset(node.name for node in classes(*folders) if not node.name.startswith("_"))


def attributes_of(*folders: Path) -> Iterator[str]:
    """Yield what is particular to these classes: fields, properties and methods by name."""
    for node in (item for owner in classes(*folders) for item in owner.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name


def tags_of(*folders: Path) -> Iterator[str]:
    """Yield the values of `type` that choose these classes in a config."""
    for node in (item for owner in classes(*folders) for item in owner.body):
        match node:
            case ast.AnnAssign(
                target=ast.Name(id="type"), annotation=ast.Subscript(slice=ast.Constant(value))
            ):
                yield str(value)


TRAINING = HOUSE / "training"
DETECTOR_CLASSES, HEAD_CLASSES = names_of(*ROOMS), names_of(HEADS)
# Every node of a config may have a type, so asking for it says nothing of a detector.
ATTRIBUTES = {name for name in attributes_of(*ROOMS, HEADS, TRAINING) if name != "type"}
HEAD_TAGS = set(tags_of(HEADS))
TAGS = {*tags_of(*ROOMS, TRAINING), *HEAD_TAGS}
OUTSIDE = [path for path in sources(HOUSE) if DETECTORS not in path.parents]


def modules_in(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a file imports, or names in a text."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.Constant(value=str(text)) if text.startswith("detkit."):
                yield text.partition(":")[0]


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name)
                | ast.Attribute(attr=name)
                | ast.alias(name=name)
                | ast.alias(asname=str(name))
            ):
                yield name


def types_asked_for(tree: ast.AST) -> Iterator[str]:
    """Yield the classes by which a program goes one way or the other."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
                yield from names_in(kinds)
            case ast.MatchClass(cls=kind):
                yield from names_in(kind)
            case ast.Compare(left=ast.Call(func=ast.Name(id="type")), comparators=kinds):
                yield from (name for kind in kinds for name in names_in(kind))


def tags_asked_for(tree: ast.AST) -> Iterator[str]:
    """Yield the texts by which a program goes one way or the other; `custom` where it is a detector's."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                of_detector = any(re.search("detector|head", ast.unparse(side)) for side in sides)
            case ast.Match(subject=subject):
                sides = [case.pattern for case in node.cases]
                of_detector = bool(re.search("detector|head", ast.unparse(subject)))
            case _:
                continue
        texts = [part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)]
        yield from (text for text in texts if text in TAGS or (text == "custom" and of_detector))


def attributes_asked_for(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                yield name


def violations(path: Path) -> dict[str, list[str]]:
    """Return what a file outside the detectors does that it may not, by rule."""
    tree = tree_of(path)
    inside = tuple(f"detkit.detectors.{room.name}" for room in ROOMS)
    asked = set(types_asked_for(tree))
    shares_heads = any(folder in path.parents for folder in (HEADS, HOUSE / "models/backbones"))
    found = {
        IMPORTS: [m for m in modules_in(tree) if m.startswith(inside)],
        NAMES: sorted(DETECTOR_CLASSES & set(names_in(tree))),
        CLASSES: [] if shares_heads else sorted(asked & HEAD_CLASSES),
        COMPARES: sorted(set(tags_asked_for(tree)) - (HEAD_TAGS if shares_heads else set())),
        ASKS: sorted(ATTRIBUTES & set(attributes_asked_for(tree))),
    }
    return {rule: what for rule, what in found.items() if what}


def excused(path: Path) -> set[str]:
    return {rule for file, rule in EXCEPTIONS if file == name_of(path)}


@pytest.mark.parametrize("path", [p for p in OUTSIDE if p not in LISTS], ids=name_of)
def test_no_file_outside_the_rooms_knows_a_detector(path: Path) -> None:
    found = violations(path)
    assert found.keys() == excused(path) - {PLAIN}, found


@pytest.mark.parametrize("path", sorted(set(DETECTORS.glob("*.py")) - LISTS), ids=name_of)
def test_what_detectors_share_knows_none_of_them(path: Path) -> None:
    assert violations(path).keys() & {IMPORTS, NAMES} == excused(path)


LEARNING = [HOUSE / name for name in ("ops", "inference", "training", "models")]
# What a config is, and what turns one into arguments.
OF_CONFIGS = re.compile(r"(\w+_)?config|(\w+_)?builder|family|families")
CONFIG_MODULES = re.compile(r"detkit\.spec|pydantic|detkit\.config|detkit\.(\w+\.)+(\w+_)?config")


@pytest.mark.parametrize(
    "path", [p for p in sources(*LEARNING) if not OF_CONFIGS.fullmatch(p.stem)], ids=name_of
)
def test_learning_takes_plain_values(path: Path) -> None:
    modules = {m for m in modules_in(tree_of(path)) if re.match(rf"({CONFIG_MODULES.pattern})(\.\w+)?$", m)}
    assert bool(modules) == (PLAIN in excused(path)), sorted(modules)


def test_the_rules_see_what_they_forbid() -> None:
    """Each rule finds its violation in a program that breaks all of them."""
    program = ast.parse("""
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig as F
from detkit.spec import Spec
lazy = "detkit.detectors.rcnn.model:RCNN"
if isinstance(head, (box_heads.FcHead, int)) or detector["type"] in ("sppnet", "custom"):
    getattr(config, "svms", None)
match config.head:
    case roi.HeadConfig(): pass
match kind:
    case "classifier": pass
""")
    assert {"detkit.detectors.faster_rcnn.config", "detkit.detectors.rcnn.model", "detkit.spec"} <= set(
        modules_in(program)
    )
    assert "FasterRCNNConfig" in DETECTOR_CLASSES & set(names_in(program))
    assert {"FcHead", "HeadConfig"} == HEAD_CLASSES & set(types_asked_for(program))
    assert set(tags_asked_for(program)) == {"sppnet", "custom", "classifier"}
    assert "svms" in ATTRIBUTES & set(attributes_asked_for(program))


def test_the_names_come_from_the_code() -> None:
    assert {"FasterRCNNConfig", "RCNN", "AlternatingConfig"} <= DETECTOR_CLASSES
    assert {"faster_rcnn", "alternating", "gradient", "fc6_fc7"} <= TAGS
    assert {"FcHead", "HeadConfig"} <= HEAD_CLASSES
