"""MMDetection's configs, which are Python programs, read as data: nothing in them is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

LARGEST = 1 << 20  # letters; published ones have some 10,000


def read_config_text(text: str) -> dict[str, Any]:
    r"""Return the values that a program assigns at its top, as far as they are literals.

    What is computed, imported or joined together is left out, with the assignment or the entry it stands in.
    A text that is no program has none.

    Example:
        >>> read_config_text("a = 2 * 3\nmodel = dict(type='FasterRCNN', size=(7, -1), pad=f())")
        {'model': {'type': 'FasterRCNN', 'size': (7, -1)}}
    """
    if len(text) > LARGEST:
        return {}
    try:
        program = ast.parse(text)
        return {
            target.id: _value(node.value)
            for node in program.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and _is_plain(node.value)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _is_plain(node: ast.expr) -> bool:
    match node:
        case ast.Constant() | ast.Dict() | ast.Call(func=ast.Name(id="dict"), args=[]):
            return True
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return all(map(_is_plain, items))
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return True
    return False


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(keywords=entries):
            return {each.arg: _value(each.value) for each in entries if each.arg and _is_plain(each.value)}
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {
                key.value: _value(value)
                for key, value in pairs
                if isinstance(key, ast.Constant) and _is_plain(value)
            }
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
    return ast.literal_eval(node)


def mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping and all that lie in it, outer ones first."""
    if isinstance(value, Mapping):
        yield value
    inside = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    )
    for item in inside:
        yield from mappings(item)


def looked_up(config: Any, *keys: str) -> Any:
    """Return what lies under keys, one in the other; None where there is no such place.

    Of a list the first entry is meant: that of the first stage of a cascade.

    Example:
        >>> looked_up({"a": [{"b": 1}, {}]}, "a", "b"), looked_up({"a": 3}, "a", "b")
        (1, None)
    """
    for key in keys:
        if isinstance(config, list) and config:
            config = config[0]
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
