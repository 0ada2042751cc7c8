"""Changes of an image's geometry that take its boxes and proposals along.

Each transform is called with a (3, H, W) uint8 image, its target in the same pixels, and the
generator that all of its chance comes from; it returns both anew. Images lie in memory as their
decoder wrote them, pixel by pixel (channels last), which is the layout the fast paths want.

Pixels are resized and mirrored by torch, as `torchvision.transforms.v2` does, whose import takes longer than
to look at an image; turning and padding are OpenCV's, which are four times faster here. Boxes go through one
matrix rule (`geometry.move`), not through v2's box kernels: those clip differently from version to version
and know no rule for objects whose centre leaves.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.structures import Target


class Transform(Protocol):
    """Anything that changes an image and its target by chance drawn from `generator` alone.

    One that states `sets_size = True` takes the place of the final resizing, and so comes last.
    """

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator, /
    ) -> tuple[Tensor, Target]:
        """Return the changed image and target."""
        ...


@dataclass(frozen=True)
class Sometimes(ABC):
    """A transform of some images only; the others stay as they came.

    Attributes:
        probability: how often.
    """

    probability: float

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the image and target, changed or as they came."""
        if generator.random() >= self.probability:
            return image, target
        return self.change(image, target, generator)

    @abstractmethod
    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the changed image and target."""


@dataclass(frozen=True)
class Flip(Sometimes):
    """Mirrors the image.

    Attributes:
        direction: horizontal exchanges left and right, vertical top and bottom.
    """

    direction: Literal["horizontal", "vertical"]

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the image and target, mirrored."""
        height, width = image.shape[1:]
        if self.direction == "horizontal":
            image, matrix = image.flip(2), scaling(-1.0, 1.0, width, 0.0)
        else:
            image, matrix = image.flip(1), scaling(1.0, -1.0, 0.0, height)
        return image, move(target, matrix, (height, width))


@dataclass(frozen=True)
class RandomCrop(Sometimes):
    """Random crop: a window that holds the centre of at least one object, where there is one.

    Objects whose centre leaves the window are dropped, the others clipped.

    Attributes:
        min_scale: shortest height and width of the window as a fraction of the image's; both are drawn
            between this and 1, independently.
    """

    min_scale: float

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the window and what lies in it."""
        centre = _centre_to_keep(target, generator)
        (top, height), (left, width) = (
            self._span(side, None if centre is None else centre[axis], generator)
            for axis, side in ((1, image.shape[1]), (0, image.shape[2]))
        )
        window = image[:, top : top + height, left : left + width]
        return window, move(target, scaling(1.0, 1.0, -left, -top), (height, width))

    def _span(self, side: int, centre: float | None, generator: np.random.Generator) -> tuple[int, int]:
        """Return where the window begins along one axis, and its length, so that `centre` is inside."""
        length = max(1, round(side * generator.uniform(self.min_scale, 1.0)))
        low, high = 0, side - length
        if centre is not None:
            pixel = min(max(math.floor(centre), 0), side - 1)
            low, high = max(low, pixel - length + 1), min(high, pixel)
        return int(generator.integers(low, high, endpoint=True)), length


@dataclass(frozen=True)
class ZoomOut(Sometimes):
    """Random zoom out: the image somewhere on a larger canvas of its mean colour.

    Attributes:
        max_scale: largest side of the canvas as a multiple of the image's; the factor is drawn
            between 1 and this, the same for both sides.
    """

    max_scale: float

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the canvas with the moved target."""
        height, width = image.shape[1:]
        scale = generator.uniform(1.0, self.max_scale)
        size = (round(height * scale), round(width * scale))
        top = int(generator.integers(size[0] - height, endpoint=True))
        left = int(generator.integers(size[1] - width, endpoint=True))
        pixels = as_pixels(image)
        canvas = np.empty((*size, 3), dtype=np.uint8)
        canvas[:] = mean_colour(pixels)
        canvas[top : top + height, left : left + width] = pixels
        return as_image(canvas), move(target, scaling(1.0, 1.0, left, top), size)


@dataclass(frozen=True)
class Affine(Sometimes):
    """Turns, shears and stretches the image about its centre; the canvas keeps its size.

    What comes in from outside has the image's mean colour. A box becomes the box around its turned
    corners, a little larger than the object, which is why the angles should stay small.

    Attributes:
        degrees: largest rotation either way.
        shear_degrees: largest horizontal shear either way.
        stretch: largest factor (or its inverse) of the aspect ratio; the area stays.
    """

    degrees: float
    shear_degrees: float
    stretch: float

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the turned image and target."""
        turn, shear, stretch = generator.uniform(-1.0, 1.0, size=3)
        height, width = image.shape[1:]
        matrix = about_centre(
            math.radians(turn * self.degrees),
            math.radians(shear * self.shear_degrees),
            self.stretch**stretch,
            (height, width),
        )
        pixels = as_pixels(image)
        turned = cv2.warpAffine(
            pixels,
            _of_pixel_centres(matrix),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=mean_colour(pixels).tolist(),
        )
        return as_image(turned), move(target, matrix, (height, width))


def about_centre(angle: float, shear: float, aspect: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the matrix that stretches, then shears, then turns about the middle of an image.

    Args:
        angle: rotation in radians, clockwise as the image is seen (y points down).
        shear: angle in radians by which upright lines lean.
        aspect: factor of width over height; the area stays.
        size: (height, width) of the image in pixels.

    Returns:
        (2, 3) matrix in continuous pixels.

    Example:
        >>> about_centre(math.pi / 2, 0.0, 1.0, (10, 10)).round(6) + 0.0
        array([[ 0., -1., 10.],
               [ 1.,  0.,  0.]])
    """
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    sheared = np.array([[1.0, math.tan(shear)], [0.0, 1.0]])
    stretched = np.diag([math.sqrt(aspect), 1.0 / math.sqrt(aspect)])
    linear = turned @ sheared @ stretched
    centre = np.array([size[1] / 2, size[0] / 2])
    return np.column_stack([linear, centre - linear @ centre])


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return the (H, W, 3) array of a (3, H, W) image, without copying where its layout allows."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def as_image(pixels: NDArray[Any]) -> Tensor:
    """Return the (3, H, W) view of an (H, W, 3) uint8 array, without copying."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def mean_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the (3,) mean colour of (H, W, 3) pixels, rounded."""
    return np.rint(cv2.mean(pixels)[:3]).astype(np.uint8)


def _centre_to_keep(target: Target, generator: np.random.Generator) -> tuple[float, float] | None:
    objects = torch.nonzero(~target.crowd).flatten()
    if not len(objects):
        return None
    x1, y1, x2, y2 = target.boxes[objects[int(generator.integers(len(objects)))]].tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2


def _of_pixel_centres(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix for OpenCV, which puts 0 at the middle of the first pixel, not at its edge."""
    half = np.array([0.5, 0.5])
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ half - half
    return moved


def move(target: Target, matrix: NDArray[np.float64], size: tuple[int, int]) -> Target:
    """Take a target along with pixels that were mapped by a matrix and cut to a size.

    Every flip, scaling, cut and turn is such a matrix: a box becomes the box around its four mapped corners.
    In a mirror, left key points become right ones.

    Args:
        target: objects and proposals in the old pixels.
        matrix: (2, 3) float64; a point (x, y, 1) in old pixels is at matrix @ (x, y, 1) in new ones,
            both continuous (the top-left pixel covers [0, 1) x [0, 1)).
        size: (height, width) of the new image in pixels.

    Returns:
        The target in the new pixels; it may be empty. See `carry` for what leaves the image.
    """
    moved = carry(
        target,
        lambda boxes: move_boxes(boxes, matrix),
        lambda places: places @ matrix[:, :2].T + matrix[:, 2],
        size,
    )
    is_mirror = matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0]
    if moved.keypoints is None or not is_mirror:
        return moved
    return replace(moved, keypoints=moved.keypoints[:, list(target.mirrored)])


def carry(
    target: Target,
    moved_boxes: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    moved_places: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    size: tuple[int, int],
) -> Target:
    """Take a target along with pixels, by what becomes of its boxes and key points.

    Boxes are clipped to the new image. An object whose centre leaves the image is dropped. A key point that
    leaves it counts as not labelled. A crowd region, which only says where not to look for background, stays
    while any of it is visible, and so does a proposal.

    Args:
        target: objects and proposals in the old pixels.
        moved_boxes: (N, 4) corner boxes in old pixels -> in new ones.
        moved_places: (..., 2) places, x and y, likewise.
        size: (height, width) of the new image in pixels.

    Returns:
        The target in the new pixels; it may be empty.
    """
    # In NumPy: on the few boxes of an image it is the calls that cost, and torch's cost more.
    limits = np.array((size[1], size[0], size[1], size[0]), dtype=np.float32)
    moved = moved_boxes(target.boxes.numpy())
    clipped = moved.clip(0, limits)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((centre >= 0) & (centre < limits[:2])).all(axis=1)
    kept = inside | (target.crowd.numpy() & _has_area(clipped))
    proposals = target.proposals
    if proposals is not None:
        inner = moved_boxes(proposals.numpy()).clip(0, limits)
        proposals = torch.from_numpy(inner[_has_area(inner)])
    points = target.keypoints
    if points is not None:
        points = torch.from_numpy(_moved_points(points.numpy()[kept], moved_places, size))
    return replace(
        target,
        boxes=torch.from_numpy(clipped[kept]),
        labels=torch.from_numpy(target.labels.numpy()[kept]),
        difficult=torch.from_numpy(target.difficult.numpy()[kept]),
        crowd=torch.from_numpy(target.crowd.numpy()[kept]),
        proposals=proposals,
        keypoints=points,
    )


def _moved_points(
    points: NDArray[np.float32],
    moved_places: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Return (N, P, 3) key points where they come to lie; of one outside only zeros stay."""
    places = moved_places(points[:, :, :2].astype(np.float64))
    inside = (places >= 0) & (places < np.array((size[1], size[0])))
    shows = inside.all(axis=2, keepdims=True) & (points[:, :, 2:] > 0)
    return np.where(shows, np.concatenate([places, points[:, :, 2:]], axis=2), 0).astype(np.float32)


def scaling(x: float, y: float, right: float = 0.0, down: float = 0.0) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that multiplies the axes, then adds to them.

    Example:
        >>> scaling(2.0, 3.0, right=4.0)
        array([[2., 0., 4.],
               [0., 3., 0.]])
    """
    return np.array([[x, 0.0, right], [0.0, y, down]], dtype=np.float64)


def move_boxes(boxes: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the (N, 4) boxes around the mapped corners of (N, 4) boxes, of the same dtype, not clipped.

    Example:
        >>> mirror = np.array([[-1.0, 0.0, 10.0], [0.0, 1.0, 0.0]])
        >>> move_boxes(np.array([[1.0, 2.0, 4.0, 6.0]]), mirror)
        array([[6., 2., 9., 6.]])
    """
    ends = boxes.astype(np.float64).reshape(-1, 1, 2, 2)  # (N, 1, [low, high], [x, y])
    products = ends * matrix[:, None, :2]  # (N, [new x, new y], [low, high], [old x, old y])
    low = products.min(axis=2).sum(axis=2) + matrix[:, 2]
    high = products.max(axis=2).sum(axis=2) + matrix[:, 2]
    return np.concatenate([low, high], axis=1).astype(boxes.dtype)


def _has_area(boxes: NDArray[Any]) -> NDArray[np.bool_]:
    return cast(NDArray[np.bool_], (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
