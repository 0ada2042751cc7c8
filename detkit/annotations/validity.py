"""Invalid boxes, and what is done with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, corners_to_xywh, from_corners, to_corners
from detkit.annotations.dataset import AnnotationSet, BoxFormat, select_objects
from detkit.errors import UserError, cut
from detkit.names import counted

Policy = Literal["error", "clip", "drop"]
Problem = Literal["not_finite", "degenerate", "normalised", "outside"]

TOLERANCE_PX = 1.0
"""A COCO or YOLO box may reach less than this beyond the image: tools round. It is cut without a word."""

LARGEST_SIDE_PX = 1_000_000
FARTHEST_PX = 1e9
"""No image is so large; sums and products of smaller numbers stay finite."""

_SAID = {
    "not_finite": "a coordinate is not a finite number",
    "degenerate": "the box has no width or no height",
    "normalised": "every coordinate is at most 1, so they look like fractions of the image, not pixels",
    "outside": "the box reaches beyond the image",
}


def require_boxes(truth: AnnotationSet) -> AnnotationSet:
    """Return the set that a reader has made; every reader hands its own through here.

    A number that is none, or one that no image reaches, and a box that ends before it begins are mistakes of
    the file and never read. Boxes without an area or beyond their image are read: see `apply_box_policy`.

    Raises:
        UserError: names the first such object, its file and image, and how many there are.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        width, height = corners_to_xywh(to_corners(truth.boxes, truth.box_format)).T[2:]
    wild: NDArray[np.bool_] = np.any(~(np.abs(truth.boxes) <= FARTHEST_PX), axis=1)  # NaN is wild, too
    rows = np.flatnonzero(wild | (width < 0) | (height < 0))
    if not len(rows):
        return truth
    row = int(rows[0])
    said = "the box ends before it begins"
    if wild[row]:
        said = f"a coordinate is not a number of at most {FARTHEST_PX:g}"
    place = _message(truth, row, int(truth.image_index()[row]), said)
    more = f" ({len(rows)} such boxes)" if len(rows) > 1 else ""
    raise UserError(f"{place}{more}; detkit check lists all, and --fix writes a copy without such mistakes")


def stated_size(height: object, width: object) -> tuple[int, int]:
    """Return the (height, width) that a file states, (0, 0) where it states none that an image can have.

    Example:
        >>> stated_size(480, 640.0), stated_size("480", None), stated_size(0.5, 1e30)
        ((480, 640), (0, 0), (0, 0))
    """
    sides = [
        int(side)
        for side in (height, width)
        if isinstance(side, int | float) and 1 <= side <= LARGEST_SIDE_PX and side == int(side)
    ]
    return (sides[0], sides[1]) if len(sides) == 2 else (0, 0)


@dataclass(frozen=True)
class BoxProblem:
    """Problem of one object's box.

    Attributes:
        object: row of the object in the set.
        kind: the problem; the first that applies in the order of `Problem`.
        message: one line that names file, image, object, box and image size.
    """

    object: int
    kind: Problem
    message: str


def kinds_of_boxes(raw: Boxes, box_format: BoxFormat, sizes: NDArray[np.int32]) -> NDArray[np.int8]:
    """Return the (M,) problem of each box: 0 none, otherwise 1 + its place in `Problem`.

    In VOC's inclusive pixels a box with x1 = x2 is one pixel wide and valid, and x2 may equal the image's
    width. A box of COCO may leave the image by less than `TOLERANCE_PX`, a box of VOC not at all.

    Args:
        raw: (M, 4) boxes as written.
        box_format: their convention.
        sizes: (M, 2) height and width of each box's image; (0, 0) where unknown, which is not checked.
    """
    boxes = to_corners(raw, box_format)
    slack = TOLERANCE_PX if box_format == "coco" else 0.0
    height, width = sizes.astype(np.float64).T
    x1, y1, x2, y2 = boxes.T
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(boxes).all(axis=1)
        flat = (x2 <= x1) | (y2 <= y1)
        fractions = (np.abs(raw) <= 1.0).all(axis=1) & (raw != np.round(raw)).any(axis=1)
        beyond = np.stack([-x1, -y1, x2 - width, y2 - height], axis=1).max(axis=1, initial=-np.inf)
        apart = (x1 >= width) | (y1 >= height) | (x2 <= 0) | (y2 <= 0)
    outside = ((beyond >= slack) if slack else (beyond > 0)) | apart
    kinds = np.select([~finite, fractions, flat, outside & (width > 0)], [1, 3, 2, 4], 0)
    return kinds.astype(np.int8)


def box_problems(truth: AnnotationSet) -> list[BoxProblem]:
    """Return what is wrong with the boxes of a set, in object order."""
    images = truth.image_index()
    kinds = kinds_of_boxes(truth.boxes, truth.box_format, truth.sizes[images])
    names = get_args(Problem)
    found = []
    for row in np.flatnonzero(kinds).tolist():
        kind = names[int(kinds[row]) - 1]
        said = _SAID[kind]
        if kind == "outside" and truth.box_format == "voc" and truth.boxes[row, :2].min() == 0:
            said += " (VOC counts pixels from 1; a 0 suggests that these boxes are 0-based)"
        found.append(BoxProblem(row, kind, _message(truth, row, int(images[row]), said)))
    return found


def apply_box_policy(truth: AnnotationSet, policy: Policy) -> tuple[AnnotationSet, dict[str, int]]:
    """Return the set with its invalid boxes dealt with, and how many there were of each kind.

    Boxes that reach beyond the image by less than the tolerance are cut under every policy and not counted.
    This is meant for training; official figures come from the boxes as read.

    Args:
        truth: the set.
        policy: `error` stops at the first; `clip` cuts boxes to the image and drops what has no area left
            or no pixel coordinates; `drop` leaves the objects out.

    Returns:
        The set and counts by kind, with `clipped` and `dropped`, which are what was done.

    Raises:
        UserError: under `error`, the first invalid boxes with file, image, object and the choices.
    """
    problems = box_problems(truth)
    if problems and policy == "error":
        raise UserError(*_refusal(problems))
    counts = dict(Counter(str(problem.kind) for problem in problems))
    rows = np.asarray([p.object for p in problems], dtype=np.int64)
    hopeless = [p.object for p in problems if policy == "drop" or p.kind in ("not_finite", "normalised")]
    kept = np.ones(truth.num_objects, dtype=np.bool_)
    kept[hopeless] = False
    clipped, empty = _clipped(truth)
    kept &= ~empty
    dropped = int((~kept).sum())
    result = select_objects(clipped, kept) if dropped else clipped
    return result, counts | {"clipped": int(kept[rows].sum()), "dropped": dropped}


def _clipped(truth: AnnotationSet) -> tuple[AnnotationSet, NDArray[np.bool_]]:
    """Return the set cut to the images, and which objects have no area left; untouched boxes stay exact."""
    corners = to_corners(truth.boxes, truth.box_format)
    limit = np.tile(truth.sizes[truth.image_index()][:, ::-1].astype(np.float64), 2)
    limit[(limit <= 0).any(axis=1)] = np.inf
    cut = np.clip(corners, 0.0, limit)
    changed = (cut != corners).any(axis=1) & np.isfinite(corners).all(axis=1)
    boxes, areas = truth.boxes.copy(), truth.areas.copy()
    boxes[changed] = from_corners(cut[changed], truth.box_format)
    width, height = (cut[:, 2:] - cut[:, :2]).T
    areas[changed] = np.minimum(areas, width * height)[changed]
    return replace(truth, boxes=boxes, areas=areas), (width <= 0) | (height <= 0)


def _message(truth: AnnotationSet, row: int, image: int, said: str) -> str:
    box = ", ".join(f"{value:g}" for value in truth.boxes[row])
    height, width = truth.sizes[image]
    form = "x1 y1 x2 y2, 1-based" if truth.box_format == "voc" else "x y width height"
    number = row - int(truth.offsets[image]) + 1
    return (
        f"{truth.sources[image]}: image {cut(str(truth.image_files[image]), 200)}, object {number} "
        f"({cut(truth.classes[truth.labels[row]])}): {said}: [{box}] ({form}), image {width} x {height}"
    )


def _refusal(problems: list[BoxProblem]) -> list[str]:
    lines = [problem.message for problem in problems[:5]]
    more = [f"... and {len(problems) - 5} more"] if len(problems) > 5 else []
    return [
        *lines,
        *more,
        f"{counted(len(problems), 'invalid box')}. data.invalid_boxes decides what happens: "
        "error (this), clip (cut to the image, drop what has no area left), drop (leave the objects out)",
    ]
