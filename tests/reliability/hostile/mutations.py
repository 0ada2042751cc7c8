"""Random changes of valid input: of a JSON leaf, a line, some bytes."""

from __future__ import annotations

import json
import random
from typing import Any

import yaml

VALUES: tuple[Any, ...] = (
    None,
    True,
    [],
    {},
    "",
    "text",
    [1, 2],
    {"a": 1},
    -1,
    0,
    0.5,
    1e30,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    "../../../../escaped",
    "a/b",
    "..",
    ".",
    "/etc/passwd",
    "/dev/zero",
    "/proc/self/environ",
    "\x1b[31mred\x1b[0m\x07",
    "\ud800",
    "a\nb",
    "x" * 300,
    "x" * 100_000,
    "\u202egnp.exe",
    "nul\x00byte",
)
"""What no writer would put there."""


def changed_json(text: str, rng: random.Random) -> str:
    """Return a JSON text in which one or two values, keys or items are no longer what they were."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 2))):
        value = _changed(value, rng)
    return (
        json.dumps(value, ensure_ascii=rng.random() < 0.9)
        .encode("utf-8", "surrogatepass")
        .decode("utf-8", "replace")
    )


def changed_yaml(text: str, rng: random.Random) -> str:
    """Return a YAML text in which one or two values, keys or items are no longer what they were."""
    value = yaml.safe_load(text)
    for _ in range(rng.choice((1, 1, 2))):
        value = _changed(value, rng)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _changed(value: Any, rng: random.Random) -> Any:
    """Return a copy with a change somewhere below, rather deep than at the top."""
    if isinstance(value, dict) and value and rng.random() > 0.05:
        key = rng.choice(sorted(value))
        way = rng.random()
        if way < 0.08:
            return {name: item for name, item in value.items() if name != key}
        if way < 0.12:
            return {str(rng.choice(VALUES)) if name == key else name: item for name, item in value.items()}
        return {**value, key: _changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() > 0.05:
        place = rng.randrange(len(value))
        middle = rng.choice(([], [value[place]] * 2, *([[_changed(value[place], rng)]] * 8)))
        return [*value[:place], *middle, *value[place + 1 :]]
    return rng.choice(VALUES)


def changed_text(text: str, rng: random.Random) -> str:
    """Return a text with another number, word or line somewhere."""
    lines = text.splitlines(keepends=True) or [""]
    place = rng.randrange(len(lines))
    way = rng.randrange(6)
    if way == 0:
        del lines[place]
    elif way == 1:
        lines.insert(place, lines[place])
    elif way == 2:
        lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
    else:
        words = lines[place].split(" ")
        at = rng.randrange(len(words))
        end = "\n" if words[at].endswith("\n") else ""
        words[at] = str(rng.choice((*VALUES, "nan", "1e999", "9" * 10_000, "0x10", "-0", "\u0663"))) + end
        lines[place] = " ".join(words)
    return "".join(lines)


def changed_xml(text: str, rng: random.Random) -> str:
    """Return an XML text in which the content of an element, or the element itself, is another."""
    starts = [place for place, sign in enumerate(text) if sign == "<" and text[place + 1 : place + 2] != "/"]
    if not starts:
        return text
    start = rng.choice(starts)
    name = text[start + 1 :].partition(">")[0].partition(" ")[0].rstrip("/")
    begin, end = text.find(">", start) + 1, text.find(f"</{name}>", start)
    if end < 0:
        return text[:start]
    way = rng.randrange(4)
    if way == 0:
        return text[:start] + text[end + len(name) + 3 :]
    if way == 1:
        return text[: end + len(name) + 3] + text[start : end + len(name) + 3] + text[end + len(name) + 3 :]
    return text[:begin] + str(rng.choice((*VALUES, "9" * 10_000, "nan", "&a;", "<b/>"))) + text[end:]


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return content that is cut, has other bytes in it, or begins with something else."""
    way = rng.randrange(4)
    if way == 0:
        return content[: rng.randrange(len(content) + 1)]
    if way == 1:
        return b""
    changed = bytearray(content)
    most = len(content) if way == 2 else min(len(content), 400)  # headers are where the harm is
    for _ in range(rng.choice((1, 3, 30))):
        changed[rng.randrange(most)] = rng.choice((0, 255, 127, rng.randrange(256)))
    return bytes(changed)


def deep(opening: str, closing: str, depth: int) -> str:
    """Return brackets in brackets."""
    return opening * depth + closing * depth


def alias_bomb(levels: int = 9) -> str:
    """Return YAML of a few hundred bytes that stands for 9 ** levels texts."""
    lines = ['a0: &a0 ["x","x","x","x","x","x","x","x","x"]']
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines) + "\n"


def entity_bomb(levels: int = 12) -> str:
    """Return a document type whose entity `bomb` stands for 10 ** levels letters."""
    entities = ['<!ENTITY e0 "xxxxxxxxxx">']
    for level in range(1, levels):
        entities.append(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">')
    last = f'<!ENTITY bomb "{f"&e{levels - 1};" * 10}">'
    return f"<!DOCTYPE annotation [{''.join(entities)}{last}]>"
