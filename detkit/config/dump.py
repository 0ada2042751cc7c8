"""Writer of a config as a complete YAML file, which reads back as the same config."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from detkit.config.keys import fields_of, summary
from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.spec import CustomConfig, Spec
from detkit.storage.strict_yaml import resolve

_WIDTH = 110
_COMMENT_COLUMN = 36
# Words that need no quotes anywhere in YAML: no colon, hash, comma or bracket, and a letter in front.
_PLAIN = re.compile(r"[^\W\d]([\w./+()-]| (?=[\w(]))*")


def dump_config(config: Config, *, comments: bool = False) -> str:
    """Return a config as YAML, defaults written out, keys in the order of the schema.

    Args:
        config: the config.
        comments: explain every key by the first sentence of its description.

    Raises:
        UserError: If a custom part has arguments that YAML cannot hold.
    """
    return "\n".join(_mapping(config, "", comments)) + "\n"


def flow(value: Any, exact: bool = False) -> str:
    """Return a part of a config as YAML on one line.

    Args:
        value: a mapping of the config, or what a key holds.
        exact: keep 8.0 from becoming 8: for values whose type the schema does not know.

    Raises:
        UserError: If YAML cannot hold the value.

    Example:
        >>> flow({"sizes": (8.0, 0.5), "name": "a: b"})
        '{sizes: [8.0, 0.5], name: "a: b"}'
    """
    if isinstance(value, Spec):
        keys = fields_of(type(value))
        pairs = [(key, getattr(value, key), exact or isinstance(value, CustomConfig)) for key in keys]
        return "{" + ", ".join(f"{key}: {flow(item, only)}" for key, item, only in pairs) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {flow(item, True)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item, exact) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return _number(value, exact)
    if isinstance(value, str):
        return _text(value)
    raise UserError(
        f"args: {value!r} cannot be written to a config, which holds text, numbers, lists, mappings"
    )


def _mapping(spec: Spec, pad: str, comments: bool) -> Iterator[str]:
    """Yield the lines of a mapping, one key after the other."""
    for name, info in fields_of(type(spec)).items():
        value, means = getattr(spec, name), summary(info.description if name != "type" else spec.__doc__)
        if isinstance(spec, Config) and isinstance(value, Spec):
            yield ""  # between the sections of a file
        yield from _entry(f"{pad}{name}:", value, pad, means if comments else "", comments)


def _entry(head: str, value: Any, pad: str, means: str, comments: bool) -> Iterator[str]:
    line = f"{head} {flow(value)}"
    if isinstance(value, Spec) and (len(line) > _WIDTH or (comments and len(fields_of(type(value))) > 1)):
        yield from _commented(head, means, pad)
        yield from _mapping(value, f"{pad}  ", comments)
    elif _holds_specs(value) and (len(line) > _WIDTH or comments):
        yield from _commented(head, means, pad)
        for item in value:
            means = summary(item.__doc__) if comments else ""
            yield from _commented(f"{pad}  - {flow(item)}", means, f"{pad}  ")
    elif isinstance(value, tuple) and len(line) > _WIDTH:
        yield from _commented(head, means, pad)
        yield from _packed(value, f"{pad}  ")
    else:
        yield from _commented(line, means, pad)


def _commented(line: str, means: str, pad: str) -> Iterator[str]:
    """Yield a line with its comment behind it, or before it where there is no room."""
    behind = f"{line:<{_COMMENT_COLUMN}}  # {means}"
    if not means:
        yield line
    elif len(line) <= _COMMENT_COLUMN and len(behind) <= _WIDTH:
        yield behind
    else:
        yield from (f"{pad}# {part}" for part in _wrapped(means.split(), _WIDTH - len(pad) - 2, " "))
        yield line


def _packed(items: tuple[Any, ...], pad: str) -> Iterator[str]:
    """Yield a long list over several lines."""
    lines = list(_wrapped([flow(item) for item in items], _WIDTH - len(pad) - 2, ", "))
    for index, line in enumerate(lines):
        yield f"{pad}{' ' if index else '['}{line}{']' if index == len(lines) - 1 else ','}"


def _wrapped(words: list[str], width: int, joint: str) -> Iterator[str]:
    line = words[0]
    for word in words[1:]:
        if len(line) + len(joint) + len(word) > width:
            yield line
            line = word
        else:
            line += joint + word
    yield line


def _number(value: float, exact: bool) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value)) if whole and not exact else repr(value)


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.isprintable() and isinstance(resolve(value), str):
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _holds_specs(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Spec)
