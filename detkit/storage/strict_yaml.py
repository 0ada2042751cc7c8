"""YAML reader in which every value means what it looks like, and every key knows its line.

The plain rules of YAML 1.2 hold, in decimal: `1e-4` is a number; `true` and `false` (also True, TRUE) are
the only booleans, so `on`, `yes` and `no` are text; a number with a leading zero (0777, 007) or with colons
(1:30) is text. Refused: repeated keys, `<<` merges, tags and more than one document. Keys are always text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from detkit.errors import UserError

KeyPath = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {word: value for name, value in (("null", None), ("true", True), ("false", False))
          for word in (name, name.capitalize(), name.upper())}  # fmt: skip
_WORDS |= {"": None, "~": None}
_INFINITE = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": -float("inf"), ".nan": float("nan")}
# An alias in an alias in an alias grows without end; no config comes near this.
_MAX_VALUES = 200_000


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        path: the keys that lead to it; empty for the whole file.
        message: what is wrong and what is allowed.
        place: "file:line" or the override; None takes the place of the nearest key around it.
    """

    path: KeyPath
    message: str
    place: str | None = None


@dataclass
class Document:
    """A file's content.

    Attributes:
        value: dicts, lists, text, numbers, booleans and None.
        places: where each key and list item stands, such as "my.yaml:12".
        problems: what was refused without making the rest unreadable.
    """

    value: Any
    places: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_yaml(text: str, source: str) -> Document:
    r"""Read one YAML document.

    Args:
        text: the content.
        source: the name of the file, for messages.

    Raises:
        UserError: If it is not valid YAML; the message shows the line and points at the column.

    Example:
        >>> read_yaml("lr: 1e-4\nflip: on", "my.yaml").value
        {'lr': 0.0001, 'flip': 'on'}
    """
    try:
        # Pure Python: libyaml cannot show the line, and a config is a page at most.
        root = _Loader(text).get_single_node()
        document = Document(None)
        if root is not None:
            document.value = _Reading(document, source).value(root, ())
        return document
    except yaml.MarkedYAMLError as error:
        raise UserError(_pointed(error, source)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{source}:{line}: a character that YAML does not allow: {error.character!r}"
        ) from error
    except RecursionError as error:
        raise UserError(f"{source}: nested too deeply, or an alias that holds itself") from error


def resolve(text: str) -> Any:
    """Return what an unquoted word means: None, a boolean, a number, or the text itself.

    Example:
        >>> [resolve(word) for word in ("1e-4", "12", "on", "0777", "~")]
        [0.0001, 12, 'on', '0777', None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if text.lower() in _INFINITE:
        return _INFINITE[text.lower()]
    # Python refuses to make a number of more than a few thousand digits.
    if len(text) < 100 and _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if len(text) < 100 and _FLOAT.fullmatch(text) else text


class _Loader(yaml.SafeLoader):
    """PyYAML's reader up to its nodes; what they mean is decided here."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"tags such as {event.tag} are not allowed", event.start_mark
            )
        return super().compose_node(parent, index)


class _Reading:
    """Turns nodes into values and notes where they stand."""

    def __init__(self, document: Document, source: str) -> None:
        self.document, self.source = document, source

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if len(self.document.places) > _MAX_VALUES:
            raise UserError(f"{self.source}: more than {_MAX_VALUES} values, counting what aliases repeat")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.document.places[*path, index] = self.place(item)
                items.append(self.value(item, (*path, index)))
            return items
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return resolve(node.value) if plain else node.value

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, here = key_node.value, (*path, str(key_node.value))
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(key_node, path, "a key must be text, not a list or mapping")
            elif key == "<<":
                self.refuse(key_node, path, "<< (merge) is not allowed: a config says everything itself")
            elif key in made:
                first = self.document.places[here].rpartition(":")[2]
                self.refuse(key_node, here, f"repeated key; it stands in line {first} already")
            else:
                self.document.places[here] = self.place(key_node)
                made[key] = self.value(value_node, here)
        return made

    def place(self, node: yaml.Node) -> str:
        return f"{self.source}:{node.start_mark.line + 1}"

    def refuse(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.document.problems.append(Problem(path, message, self.place(node)))


def _pointed(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    assert mark is not None
    message = error.problem or "not valid"
    if "'\\t'" in message:
        message += " (a tab; YAML is indented with spaces)"
    if error.context and error.context_mark and error.context_mark.line != mark.line:
        message += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    snippet = mark.get_snippet(indent=4) or ""
    return f"{source}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {message}\n{snippet}".rstrip()
