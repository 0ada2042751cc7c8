"""Validation errors in a config's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from detkit.config.keys import Holds, fields_of, holds, keys_called, summary, wanted
from detkit.config.schema import Config
from detkit.errors import nearest
from detkit.spec import Spec
from detkit.storage.strict_yaml import KeyPath, Problem


@dataclass(frozen=True)
class _Spot:
    """A place of the config that an error speaks of.

    Attributes:
        path: its keys, without the tags that the validation puts between them.
        allowed: what it may hold; None for a key that does not exist.
        owner: the mapping that its last key belongs to.
        siblings: the other mappings that could stand there, by type.
        info: the key's entry in the schema.
    """

    path: KeyPath
    allowed: Holds | None
    owner: type[Spec]
    siblings: dict[str, type[Spec]]
    info: FieldInfo | None


def translate(errors: Sequence[ErrorDetails]) -> list[Problem]:
    """Return the problems that a failed validation of a config reports."""
    return [_problem(error) for error in errors if not _is_echo(error)]


def _is_echo(error: ErrorDetails) -> bool:
    """Return whether a list is called too short only because its items are wrong."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _problem(error: ErrorDetails) -> Problem:
    kind, loc, got = error["type"], error["loc"], error["input"]
    if kind == "missing" and isinstance(loc[-1], int):
        # A list of fixed length lacks an item: speak of the list.
        kind, loc = "too_short", loc[:-1]
    spot = _spot(loc)
    path, allowed, info = spot.path, spot.allowed, spot.info
    match kind:
        case "value_error":
            message = str(error["ctx"]["error"])
        case "extra_forbidden":
            message = _unknown(spot)
        case "missing" if info is not None and allowed is not None:
            means = summary(info.description)
            message = f"missing key: {wanted(allowed)}" + (f" ({means})" if means else "")
        case "union_tag_not_found" if allowed is not None and isinstance(got, dict):
            path, message = (*path, "type"), f"missing key: one of {', '.join(allowed.tagged)}"
        case "union_tag_invalid" if allowed is not None:
            path, message = (*path, "type"), _not_one_of(got.get("type"), list(allowed.tagged))
        case "string_pattern_mismatch" if info is not None:
            message = f'"{got}" is not allowed: {info.description}'
        case _:
            assert allowed is not None, error
            message = _unexpected(got, allowed)
    return Problem(path, message)


def _spot(loc: tuple[int | str, ...]) -> _Spot:
    path: KeyPath = ()
    allowed: Holds | None = holds(Config)
    owner: type[Spec] = Config
    info: FieldInfo | None = None
    siblings: dict[str, type[Spec]] = {}
    for part in loc:
        if allowed is not None and part in allowed.tagged:
            siblings, allowed = allowed.tagged, holds(allowed.tagged[str(part)])
            continue
        if isinstance(part, str) and allowed is not None and not allowed.models and not allowed.tagged:
            continue  # pydantic's name for one of several plain values
        path = (*path, part)
        if isinstance(part, int):
            allowed = holds(allowed.item) if allowed is not None else None
        elif allowed is not None and allowed.models:
            (owner,) = allowed.models
            info = owner.model_fields.get(part)
            siblings = siblings if owner in siblings.values() else {}
            allowed = holds(info) if info is not None else None
    return _Spot(path, allowed, owner, siblings, info)


def _unknown(spot: _Spot) -> str:
    """Return the message for a key that does not exist here, with where it exists."""
    key = str(spot.path[-1])
    keys = list(fields_of(spot.owner))
    belongs = [name for name, model in spot.siblings.items() if key in model.model_fields]
    mine = next((name for name, model in spot.siblings.items() if model is spot.owner), "")
    if belongs:
        return f"unknown key for type {mine}; it belongs to {', '.join(belongs)}. Allowed: {', '.join(keys)}"
    guess = nearest(key, keys)
    if not guess:
        here = "".join(f"{part}." for part in spot.path[:-1] if isinstance(part, str))
        elsewhere = keys_called(key, spot.owner, here) or keys_called(key, Config)
        elsewhere = [
            name for name in elsewhere if name != here + key
        ]  # this very place, for another detector
        guess = f"there is {' and '.join(elsewhere[:3])}. " if elsewhere else ""
    return f"unknown key; {guess}Allowed: {', '.join(keys)}"


def _not_one_of(got: Any, names: list[str]) -> str:
    guess = nearest(got, names)
    return f"expected one of {', '.join(names)}, got {_shown(got)}{'; ' if guess else ''}{guess}".rstrip()


def _unexpected(got: Any, allowed: Holds) -> str:
    literal = wanted(allowed).removeprefix("one of ").split(", ")
    guess = nearest(got, literal) if isinstance(got, str) and len(literal) > 1 else ""
    expects_text = str in allowed.kinds
    hint = ""
    if expects_text and isinstance(got, int | float):
        hint = f'put it in quotes: "{str(got).lower() if isinstance(got, bool) else got}"'
    elif isinstance(got, str) and got.lower() in ("yes", "no", "on", "off") and bool in allowed.kinds:
        hint = "write true or false"
    elif isinstance(got, str) and got.lstrip("+-").startswith("0") and got.lstrip("+-").isdigit():
        hint = "a number has no leading zero"
    hint = hint or guess.rstrip()
    return f"expected {wanted(allowed)}, got {_shown(got)}" + (f"; {hint}" if hint else "")


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        return f'text "{value[:60]}{"..." if len(value) > 60 else ""}"'
    if isinstance(value, int | float):
        return f"number {value}"
    if isinstance(value, dict):
        return "a mapping"
    return "an empty list" if not value else f"a list of {len(value)}"
