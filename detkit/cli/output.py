"""Output of commands: lines for people on stdout, one JSON object for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from detkit.errors import UserError
from detkit.names import message, visible
from detkit.storage.atomic import durable_file

STDOUT = "-"


def _writable(file: str | None) -> str | None:
    """Refuse a file that cannot be written before a long run, not after it."""
    if file is None or file == STDOUT:
        return file
    if Path(file).is_dir():
        raise UserError(f"--json {file}: is a folder; name a file, or - for standard output")
    folder = next(parent for parent in Path(file).absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UserError(f"--json {file}: cannot be written: no file can be made in {folder}")
    return file


JsonFile = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", callback=_writable, help="Write the result as JSON; - is standard output."
    ),
]


def deliver(result: Any, json_file: str | None, lines: Iterable[str], *, is_document: bool = False) -> None:
    """Print a result for people, and write it as JSON where that was asked for.

    Args:
        result: a dict of dicts, lists, text and numbers, or a sequence of such dicts, of which one at a time
            is held; what is not a finite number becomes null.
        json_file: a file; "-" prints the JSON instead of the lines; None writes none.
        lines: what people read; see `message`.
        is_document: the lines are a text that may be kept in a file, so that none is shortened.

    Raises:
        UserError: If the file cannot be written.
    """
    if json_file != STDOUT:
        for line in lines:
            print(visible(line) if is_document else message(line))
    if json_file is None:
        return
    if json_file == STDOUT:
        sys.stdout.writelines(_json(result))
        return
    try:
        with durable_file(Path(json_file)) as part, part.open("w", encoding="utf-8") as stream:
            stream.writelines(_json(result))
    except UserError as error:
        raise UserError(f"--json {error}") from error


def aligned(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return rows of a name and cells as lines, names to the left, cells to the right.

    Example:
        >>> aligned([("class", ["AP"]), ("cat", ["0.5000"])])
        ['class      AP', 'cat    0.5000']
    """
    rows = [(message(name), cells) for name, cells in rows]
    name_width = max(len(name) for name, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    return [
        "  ".join([f"{name:<{name_width}}", *(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))])
        for name, cells in rows
    ]


def _json(result: Any) -> Iterator[str]:
    if isinstance(result, dict | list):
        yield f"{_json_text(result)}\n"
        return
    before = "["
    for item in result:
        yield f"{before}\n{_json_text(item)}".replace("\n", "\n  ")
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _json_text(value: Any) -> str:
    return visible(json.dumps(_without_nan(value), indent=2, ensure_ascii=False, allow_nan=False))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
