"""YAML reader in which every value means what it looks like, and every key knows its line.

The plain rules of YAML 1.2 hold, in decimal: `1e-4` is a number; `true` and `false` (also True, TRUE) are
the only booleans, so `on`, `yes` and `no` are text; a number with a leading zero (0777, 007) or with colons
(1:30) is text. Refused: repeated keys, `<<` merges, tags and more than one document. Keys are always text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from detkit.errors import UserError, cut
from detkit.storage.regular_files import MEBIBYTE, read_bytes

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {word: value for name, value in (("null", None), ("true", True), ("false", False))
          for word in (name, name.capitalize(), name.upper())}  # fmt: skip
_WORDS |= {"": None, "~": None}
_INFINITE = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": -float("inf"), ".nan": float("nan")}
# What no config or list of names comes near. An alias in an alias in an alias grows without end.
_MAX_LETTERS = 1_000_000
_MAX_DEPTH = 64
_MAX_VALUES = 100_000
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep, or an alias that holds itself"
_SHOWN = 60  # letters of a key in a message


KeyPath = tuple[str | int, ...]


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


def dotted(path: KeyPath) -> str:
    """Return a path as it is written in overrides.

    Example:
        >>> dotted(("data", "train", "augment", 0, "type"))
        'data.train.augment.0.type'
    """
    return ".".join(map(str, path))


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

    def whole(self) -> Any:
        """Return the value, of which nothing was refused.

        Raises:
            UserError: something was; the first of it is named.
        """
        for problem in self.problems:
            key = dotted(problem.path)[:_SHOWN]
            raise UserError(": ".join(filter(None, (problem.place, key, problem.message))))
        return self.value


def read_yaml_file(file: Path, *, as_text: bool = False) -> Document:
    """Read a YAML file; see `read_yaml`.

    Raises:
        UserError: also if the file cannot be read or is not UTF-8.
    """
    try:
        text = read_bytes(file, 4 * MEBIBYTE).decode("utf-8")  # as many letters as are allowed, or more
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8 (byte {error.start})") from None
    return read_yaml(text, str(file), as_text=as_text)


def read_yaml(text: str, source: str, *, as_text: bool = False) -> Document:
    r"""Read one YAML document.

    Args:
        text: the content.
        source: the name of the file, for messages.
        as_text: keep unquoted words as they stand there, for files in which they are names: 1.10, no, 1e3.

    Raises:
        UserError: If it is not valid YAML; the message shows the line and points at the column.

    Example:
        >>> read_yaml("lr: 1e-4\nflip: on", "my.yaml").value
        {'lr': 0.0001, 'flip': 'on'}
    """
    if len(text) > _MAX_LETTERS:
        raise UserError(
            f"{source}: longer than {_MAX_LETTERS:,} letters, so it is no config or list of names"
        )
    try:
        # Pure Python: libyaml cannot show the line, and a config is a page at most.
        root = _Loader(text).get_single_node()
        document = Document(None)
        if root is not None:
            document.value = _Reading(document, source, as_text).value(root, ())
        return document
    except yaml.MarkedYAMLError as error:
        raise UserError(*_pointed(error, source).split("\n")) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{source}:{line}: a character that YAML does not allow: {error.character!r}"
        ) from error


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

    depth = num_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"tags such as {cut(event.tag)} are not allowed", event.start_mark
            )
        if self.depth == _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, event.start_mark)
        self.num_nodes += 1
        if self.num_nodes > _MAX_VALUES:
            raise yaml.composer.ComposerError(None, None, f"more than {_MAX_VALUES} values", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reading:
    """Turns nodes into values and notes where they stand."""

    def __init__(self, document: Document, source: str, as_text: bool) -> None:
        self.document, self.source, self.as_text = document, source, as_text

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if len(self.document.places) > _MAX_VALUES:
            raise UserError(f"{self.source}: more than {_MAX_VALUES} values, counting what aliases repeat")
        if len(path) > _MAX_DEPTH:
            raise UserError(f"{self.place(node)}: {_TOO_DEEP}")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.document.places[*path, index] = self.place(item)
                items.append(self.value(item, (*path, index)))
            return items
        plain = isinstance(node, yaml.ScalarNode) and node.style is None and not self.as_text
        return resolve(node.value) if plain else node.value

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(key_node, path, "a key must be text, not a list or mapping")
                continue
            key: str = key_node.value
            here = (*path, key)
            if key == "<<":
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
    message = cut(error.problem or "not valid", 300)
    if "'\\t'" in message:
        message += " (a tab; YAML is indented with spaces)"
    if error.context and error.context_mark and error.context_mark.line != mark.line:
        message += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    snippet = mark.get_snippet(indent=4) or ""
    return f"{source}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {message}\n{snippet}".rstrip()
