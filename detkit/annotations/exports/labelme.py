"""Reader of LabelMe's files: a JSON beside each image."""

from __future__ import annotations

import re
from itertools import islice
from math import hypot
from pathlib import Path
from typing import Any

from detkit.annotations.coco import read_json
from detkit.annotations.exports.records import Box, ExportedImage, enclosing, points, require_name
from detkit.annotations.validity import stated_size
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file

_KEYS = re.compile(rb'"(shapes|imagePath|imageData)"\s*:')
_HEAD, _PEEKED = 1 << 12, 5  # bytes of a file, and files
_OUTLINES = ("rectangle", "polygon", "mask")


def is_labelme(content: Any) -> bool:
    """Return whether the content of a JSON file is LabelMe's."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def holds_labelme(folder: Path) -> bool:
    """Return whether the first JSON files of a folder look like LabelMe's, by where they begin.

    They may hold the image itself, and a file of COCO may be large: none is read as a whole.
    """
    for file in filter(is_file, islice(sorted(folder.glob("*.json")), _PEEKED)):
        with file.open("rb") as stream:
            if _KEYS.search(stream.read(_HEAD)):
                return True
    return False


def read_labelme(folder: Path) -> list[ExportedImage]:
    """Return the images of a folder of files; of a polygon, a circle or a mask the enclosing box is taken.

    Points and lines are no objects with a box and passed over, as are JSON files that are not LabelMe's.

    Raises:
        UserError: a file cannot be read, or names no image.
    """
    images = []
    for file in sorted(folder.glob("*.json")):
        content = read_json(file)
        if not is_labelme(content):
            continue
        name = require_name(content["imagePath"], str(file))
        image = ExportedImage(name, file, stated_size(content.get("imageHeight"), content.get("imageWidth")))
        for number, shape in enumerate(content["shapes"], 1):
            _read_shape(image, number, shape)
        images.append(image)
    if not images:
        raise UserError(f"{folder}: no JSON file of LabelMe's, with shapes and imagePath")
    return images


def _read_shape(image: ExportedImage, number: int, shape: Any) -> None:
    if not isinstance(shape, dict):
        raise UserError(f"{image.source}: shapes[{number - 1}] must be an object; found {shown(shape)}")
    kind = shape.get("shape_type") or "polygon"
    if kind in _OUTLINES:
        box = enclosing(points(shape.get("points")))
    elif kind == "circle":
        box = _circle(points(shape.get("points")))
    else:
        return
    flags = shape.get("flags")
    marks = {key for key, value in flags.items() if value is True} if isinstance(flags, dict) else set()
    image.add(number, shape.get("label"), box, difficult="difficult" in marks, crowd="crowd" in marks)


def _circle(outline: list[tuple[float, float]] | None) -> Box | None:
    if outline is None or len(outline) != 2:
        return None
    (cx, cy), (x, y) = outline
    radius = hypot(x - cx, y - cy)
    return cx - radius, cy - radius, 2 * radius, 2 * radius
