"""Parser of one Pascal VOC annotation file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from detkit.annotations.class_names import name_fault
from detkit.annotations.validity import stated_size
from detkit.errors import UserError, cut, shown
from detkit.storage.regular_files import MEBIBYTE, read_bytes

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LARGEST = 64 * MEBIBYTE  # of one image's objects
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class VocObject:
    """One object: its class name, x1 y1 x2 y2 (1-based, inclusive) and whether it is marked difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True, slots=True)
class VocFile:
    """One file: the image's name as written (or None), its (height, width) or (0, 0), and the objects."""

    file_name: str | None
    size: tuple[int, int]
    objects: list[VocObject]


def read_voc_xml(path: Path) -> VocFile:
    """Parse an annotation file; `size`, `difficult` and `truncated` may be missing.

    Raises:
        UserError: the file is missing or cannot be read (see `voc_tree`), or an object lacks its name or a
            number.
    """
    tree = voc_tree(path)
    objects = [voc_object(node, number, path) for number, node in enumerate(tree.findall("object"), 1)]
    return VocFile(tree.findtext("filename"), voc_size(tree), objects)


def voc_tree(path: Path, largest: int = _LARGEST) -> ElementTree.Element:
    """Return the root element of an annotation file.

    Args:
        path: the file.
        largest: the most bytes that it may have.

    Raises:
        UserError: the file cannot be read, is not well-formed XML (the line is named), is nested deeply, or
            declares a document type (entities could expand without end).
    """
    data = read_bytes(path, largest)
    plain = data.replace(b"\0", b"")  # UTF-16 would hide the word
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
        raise UserError(f"{path}: declares a document type or entities, which are not read; delete that line")
    try:
        tree = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        line = getattr(error, "position", (1, 0))[0]
        raise UserError(f"{path}:{line}: not well-formed XML ({error})") from None
    level, depth = list(tree), 1
    while level:
        level, depth = [node for outer in level for node in outer], depth + 1
        if depth > _DEEPEST:
            raise UserError(f"{path}: elements in elements more than {_DEEPEST} deep; annotations have 4")
    return tree


def voc_size(tree: ElementTree.Element) -> tuple[int, int]:
    """Return (height, width) as a file states it, (0, 0) where it does not."""
    try:
        height, width = (float(tree.findtext(f"size/{key}") or 0) for key in ("height", "width"))
    except ValueError:
        return 0, 0
    return stated_size(height, width)


def voc_object(node: ElementTree.Element, number: int, path: Path) -> VocObject:
    """Return one object of a file.

    Args:
        node: its element.
        number: its place in the file, from 1, for messages.
        path: the file.

    Raises:
        UserError: it lacks its name or a number.
    """
    name = (node.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: object {number} has no <name>")
    if fault := name_fault(name):
        raise UserError(f"{path}: object {number}: the name {shown(name)} {fault}")
    place, corners = f"{path}: object {number} ({cut(name)})", node.find("bndbox")
    if corners is None:
        raise UserError(f"{place} has no <bndbox>")
    try:
        x1, y1, x2, y2 = (float(corners.findtext(key) or "") for key in _CORNERS)
    except ValueError:
        raise UserError(
            f"{place}: <bndbox> needs a number in each of xmin, ymin, xmax, ymax; "
            f"found {', '.join(f'{key}={_brief(corners.findtext(key))}' for key in _CORNERS)}"
        ) from None
    difficult = (node.findtext("difficult") or "0").strip().lower() in ("1", "true")
    return VocObject(name, (x1, y1, x2, y2), difficult)


def _brief(text: str | None) -> str:
    return cut(" ".join(str(text).split()), 30)
