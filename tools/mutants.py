"""Changes of the meaning of a line of code, one at a time: what `mutate.py` runs the tests against."""

from __future__ import annotations

import ast
import collections
import copy
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.MatMult: ast.Mult,
}  # fmt: skip
PAIRS = [
    ("min", "max"), ("minimum", "maximum"), ("amin", "amax"), ("argmin", "argmax"), ("any", "all"),
    ("floor", "ceil"), ("zeros", "ones"), ("zeros_like", "ones_like"),
]  # fmt: skip
OPPOSITE = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
REMOVED = {"abs", "clamp", "clamp_", "clamp_min", "clamp_max", "clip", "sorted", "copy", "clone", "detach"}
COMMUTATIVE = {"min", "max", "minimum", "maximum", "hypot", "logical_and", "logical_or"}
UNSEEN = ("super().__init__()", "assert_never(")  # without an effect where the code is right
TEXTS = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp)


@dataclass(frozen=True)
class Mutant:
    """One change of the meaning of the code.

    Attributes:
        path: of the file, from the root of the tree.
        where: name of the function or method (outermost function of nested ones), "" outside of functions.
        line: its number, from 1.
        start: first changed byte of the file.
        end: byte behind the last changed one.
        old: what the file says there.
        new: what the mutant says there.
        kind: in words.
    """

    path: str
    where: str
    line: int
    start: int
    end: int
    old: str
    new: str
    kind: str

    @property
    def name(self) -> str:
        """What names the mutant when lines have moved: file, function and the change itself."""
        return f"{self.path}::{self.where}::{' '.join(self.old.split())} -> {self.new}"


class Finder(ast.NodeVisitor):
    """Collects the mutants of a file."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.scope: list[str] = []
        self.in_function = 0
        self.types: dict[str, str] = {}
        self.found: list[Mutant] = []

    def visit(self, node: ast.AST) -> None:
        """Ask the method of the node's name, if there is one."""
        getattr(self, f"_{type(node).__name__}", self.generic_visit)(node)

    def _add(self, node: Any, new: ast.AST | str, kind: str) -> None:
        start = self.starts[node.lineno - 1] + node.col_offset
        end = self.starts[node.end_lineno - 1] + node.end_col_offset
        text = new if isinstance(new, str) else ast.unparse(new)
        if not isinstance(new, (str, ast.Constant, ast.Name)):
            text = f"({text})"
        old = self.source[start:end].decode()
        where = ".".join(self.scope)
        self.found.append(Mutant(self.path, where, node.lineno, start, end, old, text, kind))

    def _changed(self, node: ast.AST, **fields: Any) -> ast.AST:
        twin = copy.copy(node)
        for key, value in fields.items():
            setattr(twin, key, value)
        return twin

    # What is no code of its own.

    def _JoinedStr(self, node: ast.JoinedStr) -> None:
        return  # texts; before Python 3.12 their parts have no true positions

    def _AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._default(node.annotation, node.value)

    def _default(self, annotation: ast.expr | None, value: ast.expr | None) -> None:
        """Another of the words that a default may be."""
        if (
            isinstance(annotation, ast.Subscript)
            and isinstance(value, ast.Constant)
            and value.value is not None
        ):
            allowed = [part for part in ast.walk(annotation.slice) if isinstance(part, ast.Constant)]
            others = [part for part in allowed if part.value != value.value]
            if len(others) < len(allowed):
                for other in others[:1]:
                    self._add(value, other, "default")

    def _Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return
        if any(isinstance(target, ast.Subscript) for target in node.targets):
            self._add(node, "pass", "statement dropped")
        self.generic_visit(node)

    def _FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.types = self.types, {}
        positional = [*node.args.posonlyargs, *node.args.args]
        values: list[Any] = [None] * (len(positional) - len(node.args.defaults)) + list(node.args.defaults)
        pairs = [
            *zip(positional, values, strict=True),
            *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
        ]
        if not self.in_function:
            self.scope.append(node.name)
        for argument, value in pairs:
            self.types[argument.arg] = ast.unparse(argument.annotation) if argument.annotation else ""
            if value is not None:
                self._default(argument.annotation, value)
                self.visit(value)
        self.in_function += 1
        for statement in node.body:
            self.visit(statement)
        self.in_function -= 1
        if not self.in_function:
            self.scope.pop()
        self.types = outer

    def _ClassDef(self, node: ast.ClassDef) -> None:
        if not self.in_function:
            self.scope.append(node.name)
        for statement in node.body:
            self.visit(statement)
        if not self.in_function:
            self.scope.pop()

    # What has a meaning to change.

    def _If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self._condition(node.test, "condition negated" if not node.orelse else "branches swapped")
        self.generic_visit(node)

    def _While(self, node: ast.While) -> None:
        self._condition(node.test, "condition negated")
        self.generic_visit(node)

    def _IfExp(self, node: ast.IfExp) -> None:
        self._add(node, self._changed(node, body=node.orelse, orelse=node.body), "branches swapped")
        self.generic_visit(node)

    def _comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition(test, "condition negated")
        self.generic_visit(node)

    def _condition(self, test: ast.expr, kind: str) -> None:
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return  # the comparison has mutants of its own, negation among them
        self._add(test, ast.UnaryOp(ast.Not(), test), kind)

    def _Compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            other = [*node.ops[:index], COMPARISONS[type(operator)](), *node.ops[index + 1 :]]
            self._add(node, self._changed(node, ops=other), "comparison")
            if isinstance(operator, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) and len(node.ops) == 1:
                self._add(node, ast.UnaryOp(ast.Not(), node), "comparison")
        self.generic_visit(node)

    def _BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._add(node, self._changed(node, op=other), "and/or")
        self.generic_visit(node)

    def _UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
            self._add(node, node.operand, "negation removed")
        self.generic_visit(node)

    def _BinOp(self, node: ast.BinOp) -> None:
        sides = (node.left, node.right)
        text = any(isinstance(side, TEXTS) or is_text(side) for side in sides)
        of_types = isinstance(node.op, ast.BitOr) and not self.in_function
        if type(node.op) in ARITHMETIC and not text and not of_types:
            self._add(node, self._changed(node, op=ARITHMETIC[type(node.op)]()), "arithmetic")
        self.generic_visit(node)

    def _AugAssign(self, node: ast.AugAssign) -> None:
        self._add(node, "pass", "statement dropped")
        if type(node.op) in ARITHMETIC:
            self._add(node, ast.unparse(self._changed(node, op=ARITHMETIC[type(node.op)]())), "arithmetic")
        self.generic_visit(node)

    def _Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._add(node, ast.Constant(not value), "constant")
        elif isinstance(value, int):
            self._add(node, ast.Constant(value + 1), "constant")
            if value > 0:
                self._add(node, ast.Constant(value - 1), "constant")
        elif isinstance(value, float):
            self._add(node, ast.Constant(value * 2 if value else 1.0), "constant")

    def _Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call) and not ast.unparse(node).startswith(UNSEEN):
            self._add(node, "pass", "statement dropped")
        self.generic_visit(node)

    def _Raise(self, node: ast.Raise) -> None:
        if node.exc is not None:
            self._add(node, "pass", "statement dropped")
        self.generic_visit(node)

    def _Continue(self, node: ast.Continue) -> None:
        self._add(node, "break", "continue/break")

    def _Break(self, node: ast.Break) -> None:
        self._add(node, "continue", "continue/break")

    def _Call(self, node: ast.Call) -> None:
        function = node.func
        name = getattr(function, "id", getattr(function, "attr", ""))
        if name in OPPOSITE:
            field = "id" if isinstance(function, ast.Name) else "attr"
            other = self._changed(function, **{field: OPPOSITE[name]})
            self._add(node, self._changed(node, func=other), f"{name}/{OPPOSITE[name]}")
        if name in REMOVED:
            of_module = isinstance(function, ast.Name) or ast.unparse(function).startswith(
                ("torch.", "np.", "math.")
            )
            inner = (
                node.args[:1]
                if of_module
                else [function.value]
                if isinstance(function, ast.Attribute)
                else []
            )
            for value in inner:
                kept = ast.Call(ast.Name("list"), [value], []) if name == "sorted" else value
                self._add(node, kept, f"{name} removed")
        for index, (one, two) in enumerate(zip(node.args, node.args[1:], strict=False)):
            if name not in COMMUTATIVE and self._alike(one, two):
                swapped = [*node.args[:index], two, one, *node.args[index + 2 :]]
                self._add(node, self._changed(node, args=swapped), "arguments swapped")
        if name == "zip":  # whether lengths are compared is an assertion
            node = self._changed(node, keywords=[])  # type: ignore[assignment]
        self.generic_visit(node)

    def _alike(self, one: ast.expr, two: ast.expr) -> bool:
        kinds = (ast.Name, ast.Attribute, ast.Subscript)
        if not (isinstance(one, kinds) and type(one) is type(two)) or ast.unparse(one) == ast.unparse(two):
            return False
        types = [self.types.get(side.id, "") if isinstance(side, ast.Name) else "" for side in (one, two)]
        return types[0] == types[1]


def is_text(node: ast.expr) -> bool:
    """Whether an operand is text, which arithmetic would only break."""
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


@functools.cache
def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """Return the changes of a file; `is_valid` says whether one compiles."""
    finder = Finder(path, source)
    finder.visit(ast.parse(source))
    return list({(mutant.start, mutant.end, mutant.new): mutant for mutant in finder.found}.values())


def mutated(source: bytes, mutant: Mutant) -> bytes:
    """Return the text of the file with the change in it."""
    return source[: mutant.start] + mutant.new.encode() + source[mutant.end :]


def is_valid(source: bytes, mutant: Mutant) -> bool:
    """Whether the change compiles, and is one."""
    try:
        changed = compile(mutated(source, mutant), mutant.path, "exec", ast.PyCF_ONLY_AST)
    except SyntaxError:
        return False
    return ast.dump(changed) != ast.dump(ast.parse(source))


def draw(root: Path, under: Sequence[str], number: int, seed: int) -> list[Mutant]:
    """Draw lines of code with equal chances, each once, and one change of each.

    Args:
        root: of the tree.
        under: files and folders below it.
        number: of mutants.
        seed: of the draw.
    """
    lines = []
    for place in under:
        folder = root / place
        for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
            by_line = collections.defaultdict(list)
            for mutant in mutants_of(file.relative_to(root).as_posix(), file.read_bytes()):
                by_line[mutant.line].append(mutant)
            lines += by_line.values()
    dice = random.Random(seed)
    dice.shuffle(lines)
    drawn: list[Mutant] = []
    for choices in lines:
        dice.shuffle(choices)
        source = (root / choices[0].path).read_bytes()
        drawn += [mutant for mutant in choices if is_valid(source, mutant)][:1]
        if len(drawn) == number:
            break
    return drawn
