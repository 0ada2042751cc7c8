"""Reader of CVAT's own XML, "CVAT for images 1.1"."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from detkit.annotations.exports.records import Box, ExportedImage, enclosing, numbers, require_name, turned
from detkit.annotations.text_files import LARGEST_TEXT
from detkit.annotations.validity import stated_size
from detkit.annotations.voc_xml import voc_tree
from detkit.errors import UserError
from detkit.storage.regular_files import is_file

_ROOT = re.compile(rb"<\s*annotations[\s>]")
_HEAD = 1 << 12  # bytes in which the outermost element begins


def is_cvat(file: Path) -> bool:
    """Return whether an XML file is CVAT's, by its outermost element (VOC's is called annotation)."""
    if not is_file(file):
        return False
    with file.open("rb") as stream:
        return _ROOT.search(stream.read(_HEAD)) is not None


def read_cvat(file: Path) -> list[ExportedImage]:
    """Return the images of a file; of a polygon, an ellipse or a mask the enclosing box is taken.

    Points, lines and tags are no objects with a box and passed over. `subset` is an image's part.

    Raises:
        UserError: the file cannot be read (see `voc_tree`), is of a film, or an image has no name.
    """
    tree = voc_tree(file, LARGEST_TEXT)
    if tree.find("track") is not None:
        raise UserError(
            f'{file}: is CVAT\'s file of a film; export the task as "CVAT for images 1.1", with its images'
        )
    images = []
    for place, node in enumerate(tree.findall("image"), 1):
        sides = numbers([node.get("height"), node.get("width")]) or [0, 0]
        name = require_name(node.get("name", ""), f"{file}: image {place}")
        image = ExportedImage(name, file, stated_size(*sides), node.get("subset", ""))
        for number, shape in enumerate(node, 1):
            if read := _SHAPES.get(shape.tag):
                image.add(number, shape.get("label", ""), read(shape))
        images.append(image)
    return images


def _box(shape: Element) -> Box | None:
    corners = numbers([shape.get(key) for key in ("xtl", "ytl", "xbr", "ybr")])
    degrees = numbers([shape.get("rotation", "0")])
    if corners is None or degrees is None:
        return None
    x1, y1, x2, y2 = corners
    return turned((x1, y1, x2 - x1, y2 - y1), degrees[0], ((x1 + x2) / 2, (y1 + y2) / 2))


def _polygon(shape: Element) -> Box | None:
    pairs = [numbers(pair.split(","), 2) for pair in shape.get("points", "").split(";")]
    return enclosing([(pair[0], pair[1]) for pair in pairs if pair]) if all(pairs) else None


def _mask(shape: Element) -> Box | None:
    values = numbers([shape.get(key) for key in ("left", "top", "width", "height")])
    return (values and (values[0], values[1], values[2], values[3])) or None


def _ellipse(shape: Element) -> Box | None:
    values = numbers([shape.get(key) for key in ("cx", "cy", "rx", "ry")])
    return (values and (values[0] - values[2], values[1] - values[3], 2 * values[2], 2 * values[3])) or None


_SHAPES = {"box": _box, "polygon": _polygon, "mask": _mask, "ellipse": _ellipse}
