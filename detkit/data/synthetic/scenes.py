"""Layout and rendering of the embedded dataset's images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.data.synthetic.shapes import (
    KEYPOINTS,
    WITH_KEYPOINTS,
    Mask,
    Outline,
    Pixels,
    mottle,
    shape_corners,
    shape_mask,
    texture,
)

SIZES = ((192, 256), (208, 304), (240, 320), (256, 256), (256, 192), (304, 224))
"""Heights and widths of the images."""
CLUTTER = ("bar", "ellipse", "cross", "arc")

_SIZE_PX = (28.0, 110.0)
_MIN_VISIBLE = 0.7
_TRIES = 20


@dataclass(frozen=True)
class Piece:
    """A shape in its place: label (-1 for clutter), coverage, where the patch begins, its corners there."""

    label: int
    mask: Mask
    top: int
    left: int
    corners: Outline


@dataclass(frozen=True)
class SceneLayout:
    """The layout of an image before it is rendered.

    Attributes:
        height: in pixels.
        width: in pixels.
        pieces: in the order they are painted, objects and clutter.
        boxes: (M, 4) float64 tight boxes of what is visible, x1 y1 x2 y2 inclusive and 1-based.
        labels: (M,) int32.
        keypoints: (M, 4, 3) float64 x, y and visibility of the corners in the same pixels; 0 in a shape whose
            corners cannot be told apart, and outside the image.
    """

    height: int
    width: int
    pieces: tuple[Piece, ...]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int32]
    keypoints: NDArray[np.float64]


def plan_scene(rng: np.random.Generator, classes: Sequence[str]) -> SceneLayout:
    """Place 1 to 5 objects among clutter so that at least 0.7 of every object stays visible.

    Args:
        rng: decides everything.
        classes: the shapes that are objects; a label is an index into them.
    """
    height, width = SIZES[int(rng.integers(len(SIZES)))]
    scene = _Layers(height, width)
    for _ in range(int(rng.integers(2, 8))):
        scene.place(rng, CLUTTER[int(rng.integers(len(CLUTTER)))], -1, (14.0, 80.0))
    for _ in range(int(rng.integers(1, 6))):
        label = int(rng.integers(len(classes)))
        scene.place(rng, classes[label], label, _SIZE_PX)
    for _ in range(int(rng.integers(0, 3))):
        scene.place(rng, "bar", -1, (30.0, 90.0))
    return scene.plan()


class _Layers:
    """The pieces so far, and which of them is on top at each pixel."""

    def __init__(self, height: int, width: int) -> None:
        self.pieces: list[Piece] = []
        self.areas: list[int] = []
        self.owner = np.full((height, width), -1, dtype=np.int64)

    def place(self, rng: np.random.Generator, kind: str, label: int, size_px: tuple[float, float]) -> None:
        """Add a shape where it hides no object too much; give up after some tries."""
        height, width = self.owner.shape
        size = math.exp(
            rng.uniform(math.log(size_px[0]), math.log(min(size_px[1], 0.6 * min(height, width))))
        )
        angle, stretch = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(-0.13, 0.13))
        mask = shape_mask(kind, size, angle, stretch, rng.uniform(0.45, 0.65))
        corners = shape_corners(kind, size, angle, stretch) if kind in WITH_KEYPOINTS else np.zeros((0, 2))
        inset = 0.4 * size if label >= 0 else 0.0
        for _ in range(_TRIES):
            cy, cx = rng.uniform(inset, height - inset), rng.uniform(inset, width - inset)
            piece = Piece(label, mask, round(cy - len(mask) / 2), round(cx - len(mask) / 2), corners)
            owner = self.owner.copy()
            window, inner = _overlap(piece, height, width)
            owner[window][mask[inner] >= 128] = len(self.pieces)
            areas = [*self.areas, int((mask >= 128).sum())]
            seen = np.bincount(owner[owner >= 0], minlength=len(areas))
            labels = [*(p.label for p in self.pieces), label]
            if all(
                s >= _MIN_VISIBLE * a for s, a, which in zip(seen, areas, labels, strict=True) if which >= 0
            ):
                self.pieces.append(piece)
                self.areas, self.owner = areas, owner
                return

    def plan(self) -> SceneLayout:
        """Return the finished plan with the boxes of the objects."""
        height, width = self.owner.shape
        objects = [i for i, piece in enumerate(self.pieces) if piece.label >= 0]
        boxes = []
        for index in objects:
            ys, xs = np.nonzero(self.owner == index)
            boxes.append((xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1))
        return SceneLayout(
            height,
            width,
            tuple(self.pieces),
            np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
            np.asarray([self.pieces[i].label for i in objects], dtype=np.int32),
            np.asarray([self._keypoints(i) for i in objects]).reshape(-1, len(KEYPOINTS), 3),
        )

    def _keypoints(self, index: int) -> NDArray[np.float64]:
        """Return the (4, 3) corners of a piece; one is visible where the piece is on top just beside it."""
        found, piece = np.zeros((len(KEYPOINTS), 3)), self.pieces[index]
        places = piece.corners + np.array([piece.left, piece.top])
        for place, (x, y) in enumerate(places):
            inward = places.mean(axis=0) - (x, y)
            beside = np.floor((x, y) + 2 * inward / np.linalg.norm(inward)).astype(int)
            if all(0 <= at < side for at, side in zip((y, x), self.owner.shape, strict=True)):
                column, row = np.clip(beside, 0, np.array(self.owner.shape)[::-1] - 1)
                found[place] = x + 0.5, y + 0.5, 2 if self.owner[row, column] == index else 1
        return found


def paint_scene(plan: SceneLayout, rng: np.random.Generator) -> Pixels:
    """Return the (height, width, 3) RGB image of a layout.

    Args:
        plan: what goes where.
        rng: decides background, colours, textures, light and noise.
    """
    image = _background(rng, plan.height, plan.width)
    for _ in range(int(rng.integers(1, 5))):
        _paint_digit(image, rng)
    for piece in plan.pieces:
        window, inner = _overlap(piece, plan.height, plan.width)
        below = image[window]
        first = _contrasting(rng, below.reshape(-1, 3).mean(axis=0))
        second = rng.integers(0, 256, 3).astype(np.uint8)
        second = ((first.astype(np.int32) * 2 + second) // 3).astype(np.uint8)
        paint = texture(rng, len(piece.mask), first, second)[inner].astype(np.int32)
        share = piece.mask[inner][..., None].astype(np.int32)
        image[window] = (below * (255 - share) + paint * share + 127) // 255
    light = 0.75 + 0.5 * mottle(rng, plan.height, plan.width, 120.0)
    noise = rng.integers(-8, 9, image.shape, dtype=np.int16)
    return np.clip(image * light[..., None] + noise, 0, 255).astype(np.uint8)


def _overlap(piece: Piece, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the image that a patch covers, and the part of the patch that lies within."""
    side = len(piece.mask)
    top, left = max(piece.top, 0), max(piece.left, 0)
    bottom, right = max(min(piece.top + side, height), top), max(min(piece.left + side, width), left)
    inner = (slice(top - piece.top, bottom - piece.top), slice(left - piece.left, right - piece.left))
    return (slice(top, bottom), slice(left, right)), inner


def _contrasting(rng: np.random.Generator, below: NDArray[np.float64]) -> Pixels:
    """Return the colour farthest from what lies below among a few drawn."""
    drawn = rng.integers(0, 256, (4, 3))
    farthest = int(np.abs(drawn - below).sum(axis=1).argmax())
    return np.asarray(drawn[farthest], dtype=np.uint8)


def _background(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return a crop of a photograph, or two colours in blotches."""
    if rng.random() < 0.25:
        share = mottle(rng, height, width, rng.uniform(8, 60))[..., None]
        first, second = rng.integers(30, 226, (2, 3))
        return np.asarray(np.round(first + share * (second - first)), dtype=np.uint8)
    photo = photographs()[int(rng.integers(2))]
    crop_height = int(rng.integers(len(photo) // 2, len(photo) + 1))
    crop_width = min(photo.shape[1], crop_height * width // height)
    top = int(rng.integers(0, len(photo) - crop_height + 1))
    left = int(rng.integers(0, photo.shape[1] - crop_width + 1))
    crop = photo[top : top + crop_height, left : left + crop_width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    channels = rng.permutation(3)
    resized = cv2.resize(
        np.ascontiguousarray(crop[..., channels]), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return resized.astype(np.uint8)


def _paint_digit(image: Pixels, rng: np.random.Generator) -> None:
    """Paint a handwritten digit: texture that belongs to no class."""
    digits = _digits()
    side = int(rng.integers(16, 41))
    share = cv2.resize(digits[int(rng.integers(len(digits)))], (side, side), interpolation=cv2.INTER_LINEAR)
    top = int(rng.integers(0, image.shape[0] - side))
    left = int(rng.integers(0, image.shape[1] - side))
    below = image[top : top + side, left : left + side]
    colour = rng.integers(0, 256, 3)
    share = share[..., None].astype(np.int32)
    below[:] = (below * (255 - share) + colour * share + 127) // 255


@cache
def photographs() -> tuple[Pixels, ...]:
    """Return the photographs that scikit-learn brings along, (H, W, 3) uint8 RGB."""
    from sklearn.datasets import load_sample_images  # a second to import, not needed for planning

    return tuple(np.asarray(image, dtype=np.uint8) for image in load_sample_images().images)


@cache
def _digits() -> Pixels:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().images * (255 / 16), dtype=np.uint8)
