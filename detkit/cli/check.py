"""`detkit check`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.arguments import Overrides
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.checks.findings import Finding
    from detkit.workflows.check import Check

SHOWN = 3  # examples of a kind
LONG = 160  # letters of an example that is not repeated for others: these are named alone


def check(
    target: Annotated[str, typer.Argument(metavar="CONFIG|DATASET", help="A config, or a dataset.")],
    overrides: Overrides = None,
    fix: Annotated[
        Path | None,
        typer.Option("--fix", metavar="DIR", help="Write a corrected copy of the data; new or empty."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Find what is wrong with a dataset, or with a config and its data, before any training."""
    from detkit.workflows import check as workflow

    result = workflow.check(target, overrides or (), fix=fix)
    deliver(result.to_json(), json_file, _lines(result))
    if result.left:
        raise typer.Exit(NO)


def _lines(result: Check) -> Iterator[str]:
    parts = ", ".join(f"{name} {count}" for name, count in result.parts.items())
    yield f"{counted(result.images, 'image')}, {counted(result.objects, 'object')}" + (
        f" ({parts})" if parts else ""
    )
    if folder := _common_folder(result.findings):
        yield f"files are in {folder}"
    for severity, findings in (("error", result.errors), ("warning", result.warnings)):
        for line in _groups(severity, findings):
            yield line.replace(f"{folder}{os.sep}", "") if folder else line
    if result.findings:
        yield ""
    yield f"{counted(len(result.errors), 'error')}, {counted(len(result.warnings), 'warning')}"
    if result.fixed is not None:
        yield (
            f"{result.fixed}: a copy with {counted(len(result.changes), 'change')} (see changes.json); "
            f"left to you: {counted(len(result.left), 'error')}"
        )


def _common_folder(findings: Sequence[Finding]) -> str:
    """Return the folder of all files that are named by absolute paths; empty where none is shortened."""
    files = [finding.file for finding in findings if finding.file and Path(finding.file).is_absolute()]
    folder = os.path.commonpath([Path(file).parent for file in files]) if len(files) > 1 else ""
    return "" if folder == os.sep else folder


def _groups(severity: str, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield for each kind its title, how often it was found, and a few examples."""
    from detkit.checks.findings import KINDS

    for kind, count in Counter(finding.kind for finding in findings).items():
        yield ""
        yield f"{severity}: {KINDS[kind].title} ({kind}, {count:,})"
        examples = [finding for finding in findings if finding.kind == kind][:SHOWN]
        for number, finding in enumerate(examples):
            place = ": ".join(part for part in (finding.file, finding.object) if part)
            said = f"{place}: {finding.message}" if place else finding.message
            yield f"  {place if place and number and len(said) > LONG else said}"
        if count > SHOWN:
            yield f"  ... and {count - SHOWN:,} more (--json FILE lists all)"
