"""Images and objects as an export's files hold them, right or wrong, for the reader and for the survey."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import cos, isfinite, nan, radians, sin
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from detkit.annotations.coco import text_fault
from detkit.annotations.image_files import images_below
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file, is_folder

Box = tuple[float, float, float, float]
Point = tuple[float, float, float]
"""x and y in pixels, continuous, and visibility as in `Keypoints`."""
Limbs = tuple[tuple[str, str], ...]
NOWHERE: Box = (nan, nan, nan, nan)
_UPLOADED = re.compile("[0-9a-f]{8}-")


@dataclass(frozen=True, slots=True)
class ExportedObject:
    """One object.

    Attributes:
        number: by which people find it in its file: a line of a table, otherwise its place from 1.
        name: its class.
        box: x y width height in pixels.
        fault: why it cannot be read; empty for nothing.
        difficult: whether it is marked so.
        crowd: whether it is a region of many objects.
        keypoints: its key points by name.
        limbs: pairs of these names that a line joins.
    """

    number: int
    name: str = ""
    box: Box = NOWHERE
    fault: str = ""
    difficult: bool = False
    crowd: bool = False
    keypoints: Mapping[str, Point] = field(default_factory=dict)
    limbs: Limbs = ()


@dataclass(slots=True)
class ExportedImage:
    """One image.

    Attributes:
        name: its file as written: a name, a path of another machine, the end of an address.
        source: the file of annotations.
        size: (height, width) as stated, (0, 0) where it is not.
        part: the part of the dataset that it is said to be in; empty for none.
        objects: what is labelled in it.
    """

    name: str
    source: Path
    size: tuple[int, int] = (0, 0)
    part: str = ""
    objects: list[ExportedObject] = field(default_factory=list)

    def add(
        self,
        number: int,
        name: object,
        box: Box | None,
        *,
        difficult: bool = False,
        crowd: bool = False,
        keypoints: Mapping[str, Point] | None = MappingProxyType({}),
        limbs: Limbs = (),
    ) -> None:
        """Add an object; a name, a box or key points that are none are its fault."""
        fault = text_fault("name", name)
        if box is None:
            fault = "its box or outline is not made of numbers"
        if keypoints is None:
            fault = "its key points are not numbers with names"
        given = "" if fault else str(name).strip()
        self.objects.append(
            ExportedObject(number, given, box or NOWHERE, fault, difficult, crowd, keypoints or {}, limbs)
        )


def require_name(name: object, place: str) -> str:
    """Return the name of an image's file.

    Raises:
        UserError: it is no text, or as long as no path is.
    """
    if fault := text_fault("file_name", name):
        raise UserError(f"{place}: {fault}; found {shown(name)}")
    return str(name)


def numbers(values: object, count: int | None = None) -> list[float] | None:
    """Return values of a file as numbers; None where one is none, or there are not as many.

    Example:
        >>> numbers(["1", 2.5], 2), numbers(["a"]), numbers([None])
        ([1.0, 2.5], None, None)
    """
    if not isinstance(values, list | tuple) or (count is not None and len(values) != count):
        return None
    try:
        return None if any(isinstance(value, bool) for value in values) else [float(v) for v in values]
    except (TypeError, ValueError, OverflowError):
        return None


def points(values: object) -> list[tuple[float, float]] | None:
    """Return a file's list of points; None where it is no such list, or is empty."""
    if not isinstance(values, list) or not values:
        return None
    pairs = [numbers(value, 2) for value in values]
    return [(pair[0], pair[1]) for pair in pairs if pair] if all(pairs) else None


def enclosing(outline: Sequence[tuple[float, float]] | None) -> Box | None:
    """Return the box around points; None without any, and NaN where one is nowhere.

    Example:
        >>> enclosing([(4, 1), (2, 5)])
        (2, 1, 2, 4)
    """
    if not outline:
        return None
    if not all(isfinite(value) for point in outline for value in point):
        return NOWHERE  # min and max may pass over one
    xs, ys = zip(*outline, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def turned(box: Box, degrees: float, about: tuple[float, float]) -> Box:
    """Return the box around a box that is turned clockwise about a point.

    Example:
        >>> turned((0.0, 0.0, 4.0, 2.0), 0, (0.0, 0.0))
        (0.0, 0.0, 4.0, 2.0)
    """
    if not degrees:
        return box
    x, y, width, height = box
    if not isfinite(degrees):
        return NOWHERE
    c, s, (cx, cy) = cos(radians(degrees)), sin(radians(degrees)), about
    corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)]
    moved = [(cx + (a - cx) * c - (b - cy) * s, cy + (a - cx) * s + (b - cy) * c) for a, b in corners]
    return enclosing(moved) or NOWHERE


class ExportImages:
    """Look-up of the images of an export, whose files may name them by paths of another machine.

    Args:
        root: the folder that they lie in, or in folders of.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, written: str) -> str:
        r"""Return the path of an image from the root on, whether it is there or not.

        A path from the root is taken as it is; otherwise the name alone is looked for in all folders, also
        without the eight letters that Label Studio puts before it, or without an ending. One that is there
        twice is not guessed.
        """
        path = PurePosixPath(written.replace("\\", "/"))
        relative = not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[:1]
        if relative and is_file(self.root / path):
            return str(path)
        name = path.name
        for known, key in (
            (self._names, name),
            (self._names, _UPLOADED.sub("", name, 1)),
            (self._stems, name),
        ):
            if len(found := known.get(key, [])) == 1:
                return found[0]
        return str(path) if relative and path.name else name or "."

    @cached_property
    def _below(self) -> list[Path]:
        return images_below(self.root) if is_folder(self.root) else []

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return self._table(lambda file: file.name)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        return self._table(lambda file: file.stem)

    def _table(self, key: Callable[[Path], str]) -> dict[str, list[str]]:
        table: dict[str, list[str]] = {}
        for file in self._below:
            table.setdefault(key(file), []).append(str(file.relative_to(self.root)))
        return table
