"""Meaning of the keys of a config, and the JSON Schema for editors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic.fields import FieldInfo

from detkit.config.dump import flow
from detkit.config.keys import every_key, fields_of, holds, keys_called, summary, wanted
from detkit.config.schema import DETECTORS, Config
from detkit.errors import UserError, nearest
from detkit.spec import Spec


@dataclass(frozen=True)
class Meaning:
    """What a key means, in all types that have it so.

    Attributes:
        places: the dotted keys that mean this, one unless only the last part of a key was asked for.
        types: the values of `type` beside the key; empty where there is none.
        holds: what it may hold, in words.
        default: as YAML; None for a key that must be given.
        default_with_fpn: its default with a feature pyramid, where that is another one.
        description: the whole text of the schema.
        keys: what it holds in turn: a key, or a type with its keys, and what that means.
    """

    places: tuple[str, ...]
    types: tuple[str, ...]
    holds: str
    default: str | None
    default_with_fpn: str | None
    description: str
    keys: tuple[tuple[str, str], ...]


def describe(key: str) -> list[Meaning]:
    """Return what a dotted key means, one entry for each meaning it has.

    Args:
        key: such as "train.optimizer.lr", or its last part, "lr", for every key that ends so; lists take no
            index; empty for the whole config.

    Raises:
        UserError: If there is no such key.
    """
    if not key:
        return [_meaning("", Config, FieldInfo(annotation=Config, description="A config."))]
    found: dict[Meaning, list[tuple[str, str]]] = {}
    known = {name for name, *_ in every_key(Config)}
    wanted_keys = {key} if key in known else set(keys_called(key, Config))
    for name, owner, info in every_key(Config):
        if name in wanted_keys:
            found.setdefault(_meaning(name, owner, info), []).append((name, _tag(owner)))
    if not found:
        raise UserError(f"{key}: no such key; {_guess(key)}detkit config explain lists where to begin")
    return [
        replace(
            meaning,
            places=tuple(dict.fromkeys(name for name, _ in places)),
            types=tuple(filter(None, dict.fromkeys(tag for _, tag in places))),
        )
        for meaning, places in found.items()
    ]


def explain(key: str = "") -> str:
    """Return the answer to `detkit config explain KEY`.

    Args:
        key: such as "train.optimizer.lr"; empty lists the keys of the whole config.

    Raises:
        UserError: If there is no such key.

    Example:
        >>> print(explain("data.resize.short_px"))
        data.resize.short_px
          Length of the short side in pixels.
          holds    a whole number of at least 1
          default  600
    """
    lines = list[str]()
    for meaning in describe(key):
        heads = meaning.places or ("config",)
        lines += [*(head for head in heads if [head] != lines[:1]), *_lines(meaning)]
    return "\n".join(lines)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of config files, for editors and other checkers."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **Config.model_json_schema(), "title": "detkit config"}


def _meaning(key: str, owner: type[Spec], info: FieldInfo) -> Meaning:
    return Meaning(
        places=(),
        types=(),
        holds=wanted(holds(info)),
        default=None if info.is_required() else flow(info.get_default(call_default_factory=True)),
        default_with_fpn=_default_with_fpn(key),
        # A `type` has no description of its own: its mapping has.
        description=info.description or (owner.__doc__ or ""),
        keys=_keys_of(info),
    )


def _default_with_fpn(key: str) -> str | None:
    for detector in DETECTORS.values():
        node: Any = {"detector": detector.pyramid_defaults}
        for part in key.split("."):
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if not isinstance(node, dict):
            return flow(node)
    return None


def _keys_of(info: FieldInfo) -> tuple[tuple[str, str], ...]:
    inner = holds(info).innermost
    if inner.tagged:
        return tuple(
            (
                f"type: {tag}",
                f"{summary(model.__doc__)} [{', '.join(k for k in fields_of(model) if k != 'type')}]",
            )
            for tag, model in inner.tagged.items()
        )
    return tuple(
        (key, summary(i.description)) for model in inner.models for key, i in fields_of(model).items()
    )


def _lines(meaning: Meaning) -> list[str]:
    with_types = [f"  with type: {', '.join(meaning.types)}"] if meaning.types else []
    lines = [*with_types, *(f"  {line}" for line in meaning.description.splitlines())]
    lines.append(f"  holds    {meaning.holds}")
    lines.append(f"  default  {'none, it must be given' if meaning.default is None else meaning.default}")
    if meaning.default_with_fpn is not None:
        lines.append(f"           {meaning.default_with_fpn} with neck: {{type: fpn}}")
    width = max((len(name) for name, _ in meaning.keys), default=0)
    return lines + [f"    {name:<{width}}  {means}".rstrip() for name, means in meaning.keys]


def _tag(owner: type[Spec]) -> str:
    return str(get_args(owner.model_fields["type"].annotation)[0]) if "type" in owner.model_fields else ""


def _guess(key: str) -> str:
    named = keys_called(key.rpartition(".")[2], Config)
    return f"there is {', '.join(named[:4])}. " if named else nearest(key, (k for k, *_ in every_key(Config)))
