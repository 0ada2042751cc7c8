"""Corrected copy of a dataset in its own format; the source is only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson

from detkit.checks.fix_coco import copy_coco
from detkit.checks.fix_voc import copy_voc
from detkit.checks.fix_yolo import copy_yolo
from detkit.checks.fixes import Fixes, below
from detkit.checks.survey import Survey
from detkit.storage.atomic import write_atomically

CHANGES = "changes.json"

_COPIES: dict[str, Callable[[Fixes, Path, Path], None]] = {
    "voc": copy_voc,
    "coco": copy_coco,
    "yolo": copy_yolo,
}


def write_copy(fixes: Fixes, folder: Path) -> dict[tuple[str, Path], Path]:
    """Write annotations, lists and images of a corrected copy, and `changes.json`.

    Args:
        fixes: what is different.
        folder: where the copy goes.

    Returns:
        For each format and root of the source, the root of its copy.
    """
    survey = fixes.checked.survey
    roots = roots_of(survey)
    places = {
        key: folder if len(roots) == 1 else folder / str(number) for number, key in enumerate(roots, start=1)
    }
    for (name, root), place in places.items():
        _COPIES[name](fixes, root, place)
    for image, file in enumerate(survey.files):
        if image not in fixes.dropped_images and file.is_file():
            key = root_of(survey, image, roots)
            target = places[key] / below(file, key[1])
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    left = [finding.to_json() for finding in fixes.left]
    content = {"changes": fixes.to_json(), "left": left}
    write_atomically(folder / CHANGES, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return places


def roots_of(survey: Survey) -> list[tuple[str, Path]]:
    """Return the formats and roots of a survey; the root of COCO files is what they and images share."""
    roots: list[tuple[str, Path]] = []
    coco = [path for o in survey.groups if o.format == "coco" for path in (o.place.parent, o.root)]
    for group in survey.groups:
        common = Path(os.path.commonpath([path.absolute() for path in coco])) if coco else group.root
        key = (str(group.format), common if group.format == "coco" else group.root)
        if key not in roots:
            roots.append(key)
    return roots


def root_of(survey: Survey, image: int, roots: list[tuple[str, Path]]) -> tuple[str, Path]:
    """Return the format and root of an image."""
    group = survey.groups[survey.group[image]]
    return next(key for key in roots if key[0] == group.format and (key[0] == "coco" or key[1] == group.root))
