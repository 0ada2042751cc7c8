"""Reader of CVAT's own XML, "CVAT for images 1.1"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from html import unescape
from math import nan
from pathlib import Path
from xml.etree.ElementTree import Element

from detkit.annotations.exports.records import (
    NOWHERE,
    Box,
    ExportedImage,
    Limbs,
    Point,
    enclosing,
    numbers,
    points,
    require_name,
    turned,
)
from detkit.annotations.text_files import LARGEST_TEXT
from detkit.annotations.validity import FARTHEST_PX, stated_size
from detkit.annotations.voc_xml import voc_tree
from detkit.errors import UserError
from detkit.storage.regular_files import is_file

_ROOT = re.compile(rb"<\s*annotations[\s>]")
_PART = re.compile(r"<(circle|line)\b([^<>]*)")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_Skeleton = tuple[tuple[str, ...], Limbs]
_HEAD = 1 << 12  # bytes in which the outermost element begins


def is_cvat(file: Path) -> bool:
    """Return whether an XML file is CVAT's, by its outermost element (VOC's is called annotation)."""
    if not is_file(file):
        return False
    with file.open("rb") as stream:
        return _ROOT.search(stream.read(_HEAD)) is not None


def read_cvat(file: Path) -> list[ExportedImage]:
    """Return the images of a file; of a polygon, an ellipse or a mask the enclosing box is taken.

    A skeleton, or a shape of several points, is an object with key points and the box around them; where it
    is grouped with one shape that has a box, that object has its points. A single point, lines and tags are
    passed over. `subset` is an image's part.

    Raises:
        UserError: the file cannot be read (see `voc_tree`), is of a film, or an image has no name.
    """
    tree = voc_tree(file, LARGEST_TEXT)
    if tree.find("track") is not None:
        raise UserError(
            f'{file}: is CVAT\'s file of a film; export the task as "CVAT for images 1.1", with its images'
        )
    drawn = [label for label in tree.iter("label") if label.find("svg") is not None]
    skeletons = {label.findtext("name", ""): _skeleton(label.findtext("svg", "")) for label in drawn}
    images = []
    for place, node in enumerate(tree.findall("image"), 1):
        sides = numbers([node.get("height"), node.get("width")]) or [0, 0]
        name = require_name(node.get("name", ""), f"{file}: image {place}")
        image = ExportedImage(name, file, stated_size(*sides), node.get("subset", ""))
        _add_objects(image, list(node), skeletons)
        images.append(image)
    return images


def _add_objects(image: ExportedImage, shapes: list[Element], skeletons: Mapping[str, _Skeleton]) -> None:
    of_group = _alone_in_groups(shapes, _POINTED)
    boxed = _alone_in_groups(shapes, _SHAPES)
    taken = {shape: of_group[group] for group, shape in boxed.items() if group in of_group}
    for number, shape in enumerate(shapes, 1):
        read = _SHAPES.get(shape.tag)
        if read is None and (shape.tag not in _POINTED or shape in taken.values()):
            continue
        pointed = taken.get(shape) if read else shape
        found, limbs = ({}, ()) if pointed is None else _keypoints(pointed, skeletons)
        if read:
            box = read(shape)
        else:
            places = [(x, y) for x, y, seen in (found or {}).values() if seen]
            if found is not None and len(places) < 2:
                continue
            box = enclosing(places) or NOWHERE
        image.add(number, shape.get("label", ""), box, keypoints=found, limbs=limbs)


def _alone_in_groups(shapes: list[Element], tags: Collection[str]) -> dict[str, Element]:
    """Return the shape with one of some tags of each group that has no other."""
    found = [(shape.get("group_id", "0"), shape) for shape in shapes if shape.tag in tags]
    times = Counter(group for group, _ in found)
    return {group: shape for group, shape in found if group != "0" and times[group] == 1}


def _keypoints(shape: Element, skeletons: Mapping[str, _Skeleton]) -> tuple[dict[str, Point] | None, Limbs]:
    """Return the points of a skeleton by their labels, or those of a shape by their places, from 1 on.

    They are None where a number or a label is missing.
    """
    whole = shape.tag == "skeleton"
    names, limbs = skeletons.get(shape.get("label", ""), ((), ())) if whole else ((), ())
    found = dict.fromkeys(names, (0.0, 0.0, 0.0))
    for part in shape.findall("points") if whole else [shape]:
        seen = 0 if part.get("outside") == "1" else 1 if part.get("occluded") == "1" else 2
        for place, (x, y) in enumerate(_pairs(part) or [(nan, nan)], 1):
            name = part.get("label", "") if whole else str(place)
            if not name or not (abs(x) <= FARTHEST_PX and abs(y) <= FARTHEST_PX):
                return None, ()
            found[name] = x, y, seen
    return found, limbs


def _skeleton(drawing: str) -> _Skeleton:
    """Return the names of the points of a class and the pairs that lines join, as CVAT's drawing has them."""
    parts = [
        (tag, {key: unescape(value) for key, value in _ATTRIBUTE.findall(rest)})
        for tag, rest in _PART.findall(drawing)
    ]
    names = {
        part["data-node-id"]: part["data-label-name"]
        for tag, part in parts
        if tag == "circle" and part.keys() >= {"data-node-id", "data-label-name"}
    }
    ends = [[names.get(part.get(f"data-node-{end}", "")) for end in ("from", "to")] for tag, part in parts]
    return tuple(names.values()), tuple((start, end) for start, end in ends if start and end)


def _box(shape: Element) -> Box | None:
    corners = numbers([shape.get(key) for key in ("xtl", "ytl", "xbr", "ybr")])
    degrees = numbers([shape.get("rotation", "0")])
    if corners is None or degrees is None:
        return None
    x1, y1, x2, y2 = corners
    return turned((x1, y1, x2 - x1, y2 - y1), degrees[0], ((x1 + x2) / 2, (y1 + y2) / 2))


def _polygon(shape: Element) -> Box | None:
    return enclosing(_pairs(shape))


def _pairs(shape: Element) -> list[tuple[float, float]] | None:
    return points([pair.split(",") for pair in shape.get("points", "").split(";")])


def _mask(shape: Element) -> Box | None:
    values = numbers([shape.get(key) for key in ("left", "top", "width", "height")])
    return (values and (values[0], values[1], values[2], values[3])) or None


def _ellipse(shape: Element) -> Box | None:
    values = numbers([shape.get(key) for key in ("cx", "cy", "rx", "ry")])
    return (values and (values[0] - values[2], values[1] - values[3], 2 * values[2], 2 * values[3])) or None


_POINTED = ("points", "skeleton")
_SHAPES = {"box": _box, "polygon": _polygon, "mask": _mask, "ellipse": _ellipse}
