"""Corrected copy of a YOLO dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detkit.annotations.text_files import read_text
from detkit.annotations.yolo_layout import yolo_layout
from detkit.checks.fixes import Fixes, below
from detkit.checks.survey import AnnotationGroup
from detkit.storage.atomic import write_atomically


def copy_yolo(fixes: Fixes, root: Path, folder: Path) -> None:
    """Write labels, names and lists; the images themselves are copied by the caller.

    Args:
        fixes: what is different.
        root: of the source.
        folder: of the copy.
    """
    survey, rows = fixes.checked.survey, fixes.rows_of_images()
    for image, source in enumerate(survey.sources):
        group = survey.groups[survey.group[image]]
        if group.format != "yolo" or group.root != root or image in fixes.dropped_images:
            continue
        target = folder / below(source, root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if fixes.changed(image, rows[image]):
            write_atomically(target, _edited(fixes, image, rows[image]), sync=False)
        elif source.is_file():
            shutil.copyfile(source, target)
    for group in survey.groups:
        if group.format == "yolo" and group.root == root:
            _write_names(fixes, group, folder)


def _edited(fixes: Fixes, image: int, rows: list[int]) -> str:
    """Return the lines of an image's label file as they are to be."""
    survey = fixes.checked.survey
    lines: list[str | None] = list(read_text(survey.sources[image]).splitlines())
    height, width = fixes.checked.seen[image].tolist()
    for row in rows:
        place = survey.places[row]
        if row in fixes.dropped_objects:
            lines[place] = None
        elif row in fixes.corners:
            x1, y1, x2, y2 = fixes.corners[row] / np.array([width, height, width, height])
            box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
            lines[place] = " ".join([str(lines[place]).split()[0], *(f"{value:.8g}" for value in box)])
    return "".join(f"{line}\n" for line in lines if line is not None)


def _write_names(fixes: Fixes, group: AnnotationGroup, folder: Path) -> None:
    """Write the names of the classes and the parts: a folder stays one, anything else becomes a list."""
    survey, root = fixes.checked.survey, group.root
    has_yaml = group.place.suffix.lower() in (".yaml", ".yml")
    layout = yolo_layout(group.place if has_yaml else root)
    content: dict[str, Any] = {"path": ".", "names": dict(layout.names)}
    for part, images in fixes.parts.items():
        own = [image for image in images if survey.groups[survey.group[image]] is group]
        if not own:
            continue
        places = layout.splits.get(part, [])
        read = {survey.files[image] for image in survey.parts[part]}
        if places and all(place.is_dir() for place in places) and read == set(layout.images(part)):
            names = [str(below(place, root)) for place in places]
            content[part] = names[0] if len(names) == 1 else names
        else:
            lines = [f"./{below(survey.files[image], root)}\n" for image in own]
            write_atomically(folder / f"{part}.txt", "".join(lines))
            content[part] = f"{part}.txt"
    if not has_yaml:
        shutil.copyfile(group.place, folder / below(group.place, root))
    if has_yaml or any(str(value).endswith(".txt") for value in content.values()):
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        write_atomically(folder / "data.yaml", text)
