"""Boxes as other tools write them: in their own order of numbers, and about images by their own names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, voc_to_corners, xywh_to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.validity import FARTHEST_PX
from detkit.errors import UserError, cut, shown
from detkit.proposals.proposals import Proposals, ranked

Order = Literal["xywh", "matlab_yxyx", "matlab_xyxy", "matlab_xywh"]
"""Order of the four numbers of a box. Those of MATLAB begin at 1, and its corners lie in the box."""

# Inclusive and continuous boxes differ by a pixel; what reaches further belongs to another image.
_TOLERANCE_PX = 1.5


@dataclass(frozen=True)
class ForeignProposals:
    """The content of another tool's file.

    Attributes:
        names: of E images; None where the file follows the order of the dataset.
        boxes: E arrays (P, 4), most promising first where there are no scores.
        scores: E arrays (P,) or None.
        orders: what the four numbers can be in files of this kind, the most likely first.
        lists_all: whether the file has an entry also for an image without boxes.
    """

    names: list[str] | None
    boxes: list[NDArray[np.float64]]
    scores: list[NDArray[np.float64] | None]
    orders: tuple[Order, ...]
    lists_all: bool = True


def order_of(
    found: ForeignProposals, positions: NDArray[np.int64], truth: AnnotationSet, file: Path
) -> Order:
    """Return the first order in which every box lies in its image.

    Args:
        found: content of a file.
        positions: (N,) where in it each image is; -1 where it is not.
        truth: N images; those whose size is not known are left out.
        file: for the message.

    Raises:
        UserError: there is none: the boxes are of other images, or of the same in another size.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> truth, _ = two_images()
        >>> boxes = [np.array([[60.0, 60.0, 30.0, 20.0]])] * 2  # y2 would be less than y1
        >>> found = ForeignProposals(None, boxes, [None, None], ("matlab_yxyx", "xywh"))
        >>> order_of(found, np.arange(2), truth, Path("boxes.mat"))
        'xywh'
    """
    for order in found.orders:
        first_outside = next(_outside(found, order, positions, truth), None)
        if first_outside is None:
            return order
    image, box = next(_outside(found, found.orders[0], positions, truth))
    height, width = truth.sizes[image].tolist()
    size = f" of {height} x {width} pixels" if height and width else ""
    name, read = cut(str(truth.image_files[image]), 200), " and as ".join(found.orders)
    raise UserError(
        f"{file}: box {box} of {name} is no box within the image{size}, read as {read}. "
        "Are the boxes of other images, or of these in another size?"
    )


def require_numbers(found: ForeignProposals, file: Path) -> None:
    """Check that boxes and scores are numbers which a store can hold.

    Raises:
        UserError: one is not; the image is named.
    """
    for entry, (raw, raw_scores) in enumerate(zip(found.boxes, found.scores, strict=True)):
        boxes = raw.astype(np.float64)
        scores = np.zeros(len(raw)) if raw_scores is None else raw_scores.astype(np.float64)
        sound = (np.abs(boxes) <= FARTHEST_PX).all(axis=1) & (np.abs(scores) <= np.finfo(np.float32).max)
        if not sound.all():
            first = int(sound.argmin())
            name = f"image {entry + 1}" if found.names is None else shown(found.names[entry])
            raise UserError(
                f"{file}: {name}: coordinates up to {FARTHEST_PX:g} and scores that are finite in 32 "
                f"bits are allowed; found the box {boxes[first].tolist()} with the score {scores[first]}"
            )


def proposals_of(found: ForeignProposals, entry: int, order: Order, size: tuple[int, int]) -> Proposals:
    """Return the proposals of an entry, the most promising first, clipped to the image and none without area.

    Args:
        found: content of a file.
        entry: its position there.
        order: of the numbers of a box.
        size: (height, width) of the image in pixels; (0, 0) where it is not known.

    Example:
        >>> boxes = np.array([[1, 2, 10, 20], [5, 5, 8, 9]])
        >>> found = ForeignProposals(None, [boxes], [np.array([0.1, 0.7])], ("matlab_yxyx",))
        >>> proposals_of(found, 0, "matlab_yxyx", (40, 40)).boxes
        array([[ 4.,  4.,  9.,  8.],
               [ 1.,  0., 20., 10.]], dtype=float32)
    """
    boxes = corners_of(np.asarray(found.boxes[entry], np.float64).reshape(-1, 4), order)
    height, width = size
    if height and width:
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float64))
    corners = boxes.astype(np.float32)
    kept = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    scores = found.scores[entry]
    if scores is None:
        return ranked(corners[kept])
    best = np.flatnonzero(kept)[np.argsort(-scores[kept], kind="stable")]
    return Proposals(corners[best], scores[best].astype(np.float32))


def corners_of(boxes: Boxes, order: Order) -> Boxes:
    """Return (P, 4) continuous corner boxes in pixels.

    Example:
        >>> corners_of(np.array([[2.0, 1.0, 4.0, 3.0]]), "matlab_yxyx")
        array([[0., 1., 3., 4.]])
    """
    match order:
        case "xywh":
            return xywh_to_corners(boxes)
        case "matlab_xyxy":
            return voc_to_corners(boxes)
        case "matlab_yxyx":
            return voc_to_corners(boxes[:, [1, 0, 3, 2]])
        case "matlab_xywh":
            return xywh_to_corners(boxes - np.array([1.0, 1.0, 0.0, 0.0]))
        case _:
            assert_never(order)


def outside(corners: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which of (P, 4) corner boxes reach so far beyond an image that they must be of another.

    Args:
        corners: boxes in pixels.
        size: (height, width) of the image in pixels; (0, 0) where it is not known.

    Example:
        >>> outside(np.array([[0.0, 0, 20, 11], [0, 0, 11, 20]]), (10, 20))
        array([False,  True])
    """
    height, width = size if all(size) else (np.inf, np.inf)
    low, high = -_TOLERANCE_PX, np.array([width, height] * 2) + _TOLERANCE_PX
    beyond: NDArray[np.bool_] = np.any((corners < low) | (corners > high), axis=1)
    return beyond


def _outside(
    found: ForeignProposals, order: Order, positions: NDArray[np.int64], truth: AnnotationSet
) -> Iterator[tuple[int, list[float]]]:
    """Yield image and numbers of the first box of each image that is not in its image."""
    for image, entry in enumerate(positions.tolist()):
        height, width = truth.sizes[image].tolist()
        boxes = found.boxes[entry] if entry >= 0 else np.zeros((0, 4))
        corners = corners_of(boxes.astype(np.float64), order)
        turned = np.any(corners[:, :2] > corners[:, 2:] + _TOLERANCE_PX, axis=1)
        wrong = outside(corners, (height, width)) | turned
        if wrong.any():
            yield image, boxes[int(wrong.argmax())].tolist()
