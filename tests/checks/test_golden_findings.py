"""What is found in each broken dataset, what is done about it, and the corrected copy, to the letter."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from detkit.checks.corrected_copy import CHANGES
from detkit.workflows.check import Check, check
from tests.checks.broken_datasets import FAULTS, Fault, Spoiling
from tests.checks.small_datasets import FORMATS, Format, Picture, pictures, write
from tests.reference.golden import golden_text

OF_LIBRARIES = {"truncated", "cut_off", "file_of_labels_empty_or_wrong"}
"""Faults about which libraries have their own words, in each release others."""


def small(rng: np.random.Generator) -> list[Picture]:
    """Return few pictures with few objects."""
    drawn = pictures(rng, 4, 2)
    for picture in drawn:
        del picture.objects[2:]
    return drawn


def described(result: Check, copied: Check) -> list[str]:
    """Return a line for each finding, each change, and whatever is still wrong with the copy."""
    lines = []
    for finding in result.findings:
        about = "".join(
            f" {name}={list(rows)}" for name, rows in (("o", finding.objects), ("i", finding.images)) if rows
        )
        lines.append(f"{finding.kind}{about} {finding.file} [{finding.object}] {finding.message}")
    lines += [f"+ {c['kind']} {c['file']} [{c['object']}] {c['change']}" for c in result.changes]
    lines += [f"left {finding.kind} [{finding.object}]" for finding in result.left]
    lines += [f"in the copy: {f.kind} {f.file} [{f.object}]" for f in copied.errors]
    return [*lines, f"{result.images} images, {result.objects} objects, {result.parts}"]


def rows_of(file: Path) -> list[str]:
    """Return the lines of a file of text, a record of a JSON file each."""
    if file.suffix != ".json":
        return file.read_text(errors="replace").replace("><", ">\n<").splitlines()
    try:
        content = json.loads(file.read_text())
    except ValueError:
        return ["no JSON"]
    return [f"{key} {json.dumps(record)}" for key in sorted(content) for record in content[key]]


def differences(source: Path, copy: Path) -> list[str]:
    """Return how files of text differ, and which files are only in one of both."""
    files = {
        str(file.relative_to(root)) for root in (source, copy) for file in root.rglob("*") if file.is_file()
    }
    lines = []
    for name in sorted(files - {CHANGES}):
        both = (source / name).is_file(), (copy / name).is_file()
        if both != (True, True):
            lines.append(f"{name}: {'no more' if both[0] else 'new'}")
        elif (source / name).suffix != ".jpg":
            rows = difflib.unified_diff(rows_of(source / name), rows_of(copy / name), n=0, lineterm="")
            lines += [f"{name}: {row}" for row in list(rows)[2:] if not row.startswith("@@")]
    return lines


def lines_of(folder: Path, name: Format, item: Fault | None) -> list[str]:
    """Return what is said about a small dataset, and what becomes of it."""
    root, copy = folder / "set", folder / "copy"
    rng = np.random.default_rng(7)
    drawn = small(rng)
    write(root, name, drawn, lists=item is not None and item.lists)
    if item is not None:
        item.spoil(Spoiling(root, name, rng, drawn))
    result = check(str(root), fix=copy)
    lines = described(result, check(str(copy)) if result.changes else result)
    text = "\n".join([*lines, *differences(root, copy)]).replace(str(root), "SET").replace(str(copy), "COPY")
    return re.sub(r"\d+\.\d+(?=%)", "#", text).splitlines()


@pytest.mark.parametrize("dataset_format", FORMATS)
def test_findings_and_copies_are_the_golden_ones(tmp_path: Path, dataset_format: Format) -> None:
    good = lines_of(tmp_path / "good", dataset_format, None)
    said = ["\n".join(["## what all say", *good])]
    for item in FAULTS:
        if dataset_format in item.formats and item.name not in OF_LIBRARIES:
            lines = lines_of(tmp_path / item.name, dataset_format, item)
            said.append("\n".join([f"## {item.name}", *(line for line in lines if line not in good)]))
    found = "\n\n".join(said) + "\n"
    assert found == golden_text(f"findings_{dataset_format}.txt", found)
