"""JSON in UTF-8, as every program reads it."""

from __future__ import annotations

from typing import Any

import orjson

from detkit.names import encodable


def json_bytes(value: Any, *, indented: bool = False) -> bytes:
    r"""Return a value as JSON; a lone surrogate in a text, which is no character, is written as its number.

    Args:
        value: dicts with texts as keys, lists, texts and numbers.
        indented: by 2 spaces a level, for people.

    Example:
        >>> json_bytes({"name": "\udcff"})
        b'{"name":"\\\\udcff"}'
    """
    option = orjson.OPT_INDENT_2 if indented else None
    try:
        return orjson.dumps(value, option=option)
    except TypeError:
        return orjson.dumps(_encodable(value), option=option)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list | tuple) else value
