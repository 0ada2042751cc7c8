"""Reader of tables with one object a line: TensorFlow's, RetinaNet's, and others with a line of titles."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from detkit.annotations.exports.records import Box, ExportedImage, numbers, require_name
from detkit.annotations.text_files import read_text
from detkit.annotations.validity import stated_size
from detkit.errors import UserError, cut, shown
from detkit.storage.regular_files import is_file

_TITLES = {
    "file": ("filename", "file_name", "file", "image", "image_path", "image_name", "image_id", "path", "img"),
    "class": ("class", "label", "class_name", "label_name", "name", "category"),
    "x1": ("xmin", "x1", "x_min", "left"),
    "y1": ("ymin", "y1", "y_min", "top"),
    "x2": ("xmax", "x2", "x_max", "right"),
    "y2": ("ymax", "y2", "y_max", "bottom"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "part": ("split", "subset", "set"),
}
"""Columns and what they are called; the first title that is there is taken."""
_NEEDED = ("file", "class", "x1", "y1", "x2", "y2")
_HEADLESS = {key: place for place, key in enumerate(("file", "x1", "y1", "x2", "y2", "class"))}
_HEAD = 1 << 16  # bytes in which the first line ends

WANTED = "titles such as filename,width,height,class,xmin,ymin,xmax,ymax, or lines path,x1,y1,x2,y2,class"


def is_table(file: Path) -> bool:
    """Return whether a file is a table of labelled boxes, by its first line."""
    if not is_file(file):
        return False
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    try:
        first = next(_rows(head.partition(b"\n")[0].decode("utf-8-sig")), [])
    except UnicodeDecodeError:
        return False
    return _columns(first) is not None


def read_table(file: Path) -> list[ExportedImage]:
    """Return the images of a table, in the order in which it names them first.

    Boxes are x1 y1 x2 y2 in pixels, continuous and counted from 0. A line without a box (`path,,,,,`) names
    an image without objects.

    Raises:
        UserError: the file cannot be read, is no such table, or a line names no image.
    """
    images: dict[str, ExportedImage] = {}
    columns: Mapping[str, int] | None = None
    try:
        for number, row in enumerate(_rows(read_text(file).removeprefix("\ufeff")), 1):
            if columns is None:
                columns = _columns(row)
                if columns is None:
                    raise UserError(f"{file}:1: no table of boxes: wanted is {WANTED}; found {shown(row)}")
                if columns is not _HEADLESS:
                    continue
            if any(row):
                _read_row(images, file, number, {k: row[at] for k, at in columns.items() if at < len(row)})
    except csv.Error as error:
        raise UserError(f"{file}: not a table ({error})") from None
    return list(images.values())


def _read_row(images: dict[str, ExportedImage], file: Path, number: int, row: dict[str, str]) -> None:
    name = require_name(row.get("file", ""), f"{file}:{number}")
    image = images.get(name)
    if image is None:
        sides = numbers([row.get("height"), row.get("width")]) or [0, 0]
        image = images[name] = ExportedImage(name, file, stated_size(*sides), row.get("part", ""))
    corners = [row.get(key, "") for key in ("x1", "y1", "x2", "y2")]
    if any(corners):
        image.add(number, row.get("class", ""), _box(numbers(corners)))


def _box(corners: list[float] | None) -> Box | None:
    return (corners and (corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1])) or None


def _rows(text: str) -> Iterator[list[str]]:
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    return ([cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter))


def _columns(first: list[str]) -> Mapping[str, int] | None:
    """Return which column holds what; None where the first line is of no table of boxes."""
    titles = [cut(cell).lower() for cell in first]
    found = {
        key: titles.index(title)
        for key, names in _TITLES.items()
        if (title := next((name for name in names if name in titles), None)) is not None
    }
    if all(key in found for key in _NEEDED):
        return found
    boxed = len(first) == len(_HEADLESS) and bool(first[0])
    if boxed and ((numbers(first[1:5]) is not None and first[5]) or not any(first[1:])):
        return _HEADLESS
    return None
