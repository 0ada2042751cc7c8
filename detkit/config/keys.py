"""Keys of the schema: which there can be, what each may hold, what it means."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from pydantic.fields import FieldInfo

from detkit.spec import Spec


@dataclass(frozen=True)
class Holds:
    """What a place of a config may hold.

    Attributes:
        kinds: the alternatives without null: classes, literals or tuples.
        nullable: whether null is allowed.
        constraints: ranges and lengths, as pydantic keeps them.
    """

    kinds: tuple[Any, ...]
    nullable: bool
    constraints: tuple[Any, ...]

    @property
    def models(self) -> tuple[type[Spec], ...]:
        """The mappings among the alternatives."""
        return tuple(k for k in self.kinds if isinstance(k, type) and issubclass(k, Spec))

    @property
    def tagged(self) -> dict[str, type[Spec]]:
        """The mappings by the value of their `type`; empty where there is no choice."""
        if len(self.models) < 2:
            return {}
        return {get_args(model.model_fields["type"].annotation)[0]: model for model in self.models}

    @property
    def item(self) -> Any:
        """What an item of the list may be; None where this is not a list."""
        return next((get_args(kind)[0] for kind in self.kinds if get_origin(kind) is tuple), None)

    @property
    def innermost(self) -> Holds:
        """What an item of the list may hold; the same where this is not a list."""
        return self if self.item is None else holds(self.item)

    def model_for(self, value: Any) -> type[Spec] | None:
        """Return the mapping that a value chooses by its `type`, or the only one there is."""
        if self.tagged:
            return self.tagged.get(str(value.get("type"))) if isinstance(value, Mapping) else None
        return self.models[0] if self.models else None


def holds(annotation: Any, metadata: tuple[Any, ...] = ()) -> Holds:
    """Return what a type annotation of the schema allows."""
    origin = get_origin(annotation)
    if isinstance(annotation, FieldInfo):
        return holds(annotation.annotation, tuple(annotation.metadata))
    if origin is Annotated:
        bare, *notes = get_args(annotation)
        flat = [part for note in notes for part in (note.metadata if isinstance(note, FieldInfo) else [note])]
        return holds(bare, (*metadata, *flat))
    if origin in (Union, types.UnionType):
        parts = [holds(part) for part in get_args(annotation) if part is not type(None)]
        return Holds(
            kinds=tuple(kind for part in parts for kind in part.kinds),
            nullable=type(None) in get_args(annotation),
            constraints=(*metadata, *(note for part in parts for note in part.constraints)),
        )
    return Holds((annotation,), False, metadata)


def fields_of(model: type[Spec]) -> dict[str, FieldInfo]:
    """Return a mapping's keys in reading order: `type`, its own, then those it shares with its siblings."""
    own = [name for name in inspect.get_annotations(model) if name in model.model_fields]
    return {name: model.model_fields[name] for name in dict.fromkeys(["type", *own, *model.model_fields])
            if name in model.model_fields}  # fmt: skip


def every_key(model: type[Spec], prefix: str = "") -> Iterator[tuple[str, type[Spec], FieldInfo]]:
    """Yield every dotted key below a mapping, with the mapping that has it; items of lists have no index."""
    for name, info in fields_of(model).items():
        yield prefix + name, model, info
        for part in holds(info).innermost.models:
            yield from every_key(part, f"{prefix}{name}.")


def keys_called(name: str, model: type[Spec], prefix: str = "") -> list[str]:
    """Return every dotted key below a mapping whose last part is this name, each once."""
    return [prefix + key for key in _names(model) if key.rpartition(".")[2] == name]


@cache
def _names(model: type[Spec]) -> tuple[str, ...]:
    """Return the dotted keys below a mapping: a file full of mistakes asks for them again and again."""
    return tuple(dict.fromkeys(key for key, *_ in every_key(model)))


def wanted(allowed: Holds) -> str:
    """Say in words what a place may hold.

    Example:
        >>> from detkit.training.loop.config import SGDConfig
        >>> wanted(holds(SGDConfig.model_fields["lr"]))
        'a number above 0'
    """
    words = [_kind(kind, allowed) for kind in allowed.kinds if kind not in allowed.models]
    if allowed.tagged:
        words.append(f"a mapping with type: {', '.join(allowed.tagged)}")
    elif allowed.models:
        words.append("a mapping")
    return " or ".join(words + ["null"] * allowed.nullable)


def summary(text: str | None) -> str:
    r"""Return the first sentence of a description on one line.

    Example:
        >>> summary("Mirror the image. Boxes\n    move along.")
        'Mirror the image'
    """
    return " ".join((text or "").split()).partition(". ")[0].rstrip(".")


def _kind(kind: Any, allowed: Holds) -> str:
    if get_origin(kind) is Literal:
        values = [str(value) for value in get_args(kind)]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if get_origin(kind) is tuple:
        return _list(kind, allowed)
    if get_origin(kind) is dict:
        return "a mapping"
    name = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    return name + _range(allowed.constraints) if kind in (int, float) else name


def _list(kind: Any, allowed: Holds) -> str:
    item, *others = get_args(kind)
    each = wanted(holds(item))
    if others != [Ellipsis]:
        return f"a list of {1 + len(others)} values, each {each}"
    at_least = any(isinstance(note, limits.MinLen) and note.min_length for note in allowed.constraints)
    return f"a list, not empty, each {each}" if at_least else f"a list, each {each}"


def _range(constraints: tuple[Any, ...]) -> str:
    low = next((note for note in constraints if isinstance(note, limits.Ge | limits.Gt)), None)
    high = next((note for note in constraints if isinstance(note, limits.Le | limits.Lt)), None)
    lower = (
        "" if low is None else f" of at least {low.ge}" if isinstance(low, limits.Ge) else f" above {low.gt}"
    )
    upper = (
        "" if high is None else f" at most {high.le}" if isinstance(high, limits.Le) else f" below {high.lt}"
    )
    if isinstance(low, limits.Ge) and high is not None:
        return f" from {low.ge} to{upper.removeprefix(' at most')}"
    return f"{lower} and{upper}" if lower and upper else lower + upper
