"""Check that the documentation is true where a program can tell: links, commands, examples, config keys."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from typer.main import get_command

from detkit.cli.app import app
from detkit.config.schema import Config

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)\)")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\.venv/bin/)?detkit ([a-z].*)$", re.MULTILINE)
COMMAND_SPAN = re.compile(r"`detkit ([a-z][^`]*)`")
KEY = re.compile(r"`(?!data\.yaml`)((?:detector|data|train|evaluate)(?:\.[a-z_0-9]+)+)(?:[:=][^`]*)?`")
# The name belongs to another project on the package index; ours is detkit-rcnn.
FOREIGN = re.compile(r"pip install\s+(?:-U\s+|--upgrade\s+)?detkit(?![-\w])")


def pages() -> list[Path]:
    """Return every Markdown page of the project."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def slugs(text: str) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Yield a message for each link to a file or heading that is not there."""
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield f"link to {target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in slugs(file.read_text(encoding="utf-8")):
            yield f"link to {target}: no such heading"


def missing_names(text: str) -> Iterator[str]:
    """Yield a message for each Python example that does not parse or uses what detkit does not have."""
    for block in PYTHON.findall(text):
        try:
            tree = ast.parse(block)
        except SyntaxError as error:
            yield f"example does not parse: {error}"
            continue
        for module, name in used_names(tree):
            if not hasattr(importlib.import_module(module), name):
                yield f"{module} has no {name}"


def used_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield module and name of everything an example takes from detkit."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("detkit"):
                yield from ((module, alias.name) for alias in names)
            case ast.Attribute(value=ast.Name(id="detkit"), attr=name):
                yield "detkit", name


def wrong_commands(text: str, program: Any) -> Iterator[str]:
    """Yield a message for each command line of detkit that names a command or option there is not."""
    in_blocks = [
        line for block in FENCE.findall(text) for line in COMMAND.findall(block.replace("\\\n", " "))
    ]
    for line in in_blocks + COMMAND_SPAN.findall(FENCE.sub("", text)):
        words = shlex.split(line, comments=True)
        command = program  # Typer's own copy of Click or Click itself: told apart by what they have
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            name = words.pop(0)
            if name not in command.commands:
                yield f"`detkit {line.strip()}`: no command {name!r}"
                return
            command = command.commands[name]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
        yield from (
            f"`detkit {line.strip()}`: no option {word}"
            for word in words
            if re.match(r"--?[a-z]", word) and word not in known
        )


def config_keys(node: Any = Config, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key that some config can have."""
    if isinstance(node, type) and issubclass(node, BaseModel):
        for name, field in node.model_fields.items():
            yield prefix + name
            yield from config_keys(field.annotation, f"{prefix}{name}.")
        return
    for part in get_args(node):
        yield from config_keys(part, prefix)


def problems(page: Path, keys: set[str], program: Any) -> Iterator[str]:
    """Yield everything that is wrong with a page."""
    text = page.read_text(encoding="utf-8")
    yield from wrong_commands(text, program)
    yield from broken_links(page, text)
    yield from missing_names(text)
    for key in KEY.findall(text):
        if key not in keys:
            yield f"`{key}` is not a key of the config"
    if FOREIGN.search(text):
        yield "`pip install detkit` installs another project"


def main() -> int:
    """Print all problems; the exit status says whether there are any."""
    keys, program = set(config_keys()), get_command(app)
    found = [
        f"{page.relative_to(ROOT)}: {message}"
        for page in pages()
        for message in problems(page, keys, program)
    ]
    print("\n".join(found) or f"{len(pages())} pages: links, commands, examples and config keys are right")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
