"""`key.sub=value` from the command line, put into a file's content before it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.fields import FieldInfo

from detkit.config.keys import holds
from detkit.config.problems import KeyPath, Problem, dotted
from detkit.config.schema import Config
from detkit.config.strict_yaml import Document, read_yaml
from detkit.errors import UserError
from detkit.spec import Spec


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Change a file's content in place; later overrides win.

    A value is read as YAML. A number in the key is an index into a list. Where the key goes through a mapping
    that the file leaves out, its default `type` is taken.

    Args:
        document: the content; its places and problems are brought up to date.
        overrides: texts such as "train.epochs=3" or "train.schedule.at=[8, 11]".

    Raises:
        UserError: If an override is not of the form key.sub=value, or its value is not valid YAML.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        keys = key.strip().split(".")
        if not equals or not all(keys):
            raise UserError(
                f'override "{override}": expected key.sub=value, such as train.epochs=3'
                + (" (a flag goes before or after all overrides)" if override.startswith("-") else "")
            )
        place = f"override {override}"
        given = read_yaml(text, place)
        document.problems += [Problem((*keys, *p.path), p.message, place) for p in given.problems]
        problem = _put(document, keys, given.value, place)
        if problem is not None:
            document.problems.append(problem)


def _put(document: Document, keys: list[str], value: Any, place: str) -> Problem | None:
    """Set one value; return what stands in the way, if anything."""
    node, allowed = document.value, holds(Config)
    path: KeyPath = ()
    for depth, key in enumerate(keys):
        index: str | int = key
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return Problem(
                    (*path, key), f"expected an index below {len(node)}, or replace the whole list", place
                )
            index, allowed = int(key), holds(allowed.item) if allowed.item is not None else holds(Any)
        elif isinstance(node, dict):
            model = allowed.model_for(node)
            info = model.model_fields.get(key) if model is not None else None
            allowed = holds(info) if info is not None else holds(Any)
            if depth < len(keys) - 1 and node.get(key) is None:
                node[key] = _chosen_type(info)
        else:
            return Problem(path, f"holds {node!r}, which has no key {dotted((key,))}", place)
        path = (*path, index)
        if depth == len(keys) - 1:
            _mark(document, path, place)
            node[index] = value
            return None
        document.places.setdefault(path, place)
        node = node[index]
    return None


def _chosen_type(info: FieldInfo | None) -> dict[str, Any]:
    default = None if info is None else info.get_default(call_default_factory=True)
    return {"type": default.type} if isinstance(default, Spec) and hasattr(default, "type") else {}


def _mark(document: Document, path: KeyPath, place: str) -> None:
    """Let the override be the place of a key and of all that it holds."""
    for known in [p for p in document.places if p[: len(path)] == path]:
        del document.places[known]
    document.places[path] = place
