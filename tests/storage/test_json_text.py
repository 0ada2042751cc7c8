from __future__ import annotations

import json

import orjson

from detkit.storage.json_text import json_bytes


def test_ordinary_values_are_written_as_ever() -> None:
    value = {"é": [1, 0.1, None, "a\x1b\n"], "b": {}}
    assert json_bytes(value) == orjson.dumps(value)
    assert json_bytes(value, indented=True).decode() == json.dumps(value, indent=2, ensure_ascii=False)


def test_every_program_can_read_texts_that_are_not_utf8() -> None:
    value = {"a\ud800": ["\udcff", ("x", 1)], "b": {"c": "\ud800"}}
    assert orjson.loads(json_bytes(value)) == {"a\\ud800": ["\\udcff", ["x", 1]], "b": {"c": "\\ud800"}}
    assert b"\n  " in json_bytes(value, indented=True)
