"""Masks and textures of the embedded dataset's objects and clutter."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Pixels = NDArray[np.uint8]
Outline = NDArray[np.float64]

_FINE = 4  # masks are drawn this much larger and averaged down, for smooth edges


def _circle(radius: float, start: float = 0.0, end: float = 2 * math.pi, count: int = 64) -> Outline:
    angles = np.linspace(start, end, count, endpoint=end - start < 2 * math.pi)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def _star() -> Outline:
    points = _circle(1.0, count=10)
    points[1::2] *= 0.42
    return points


def _cross() -> Outline:
    arm = np.array([[1.0, -0.17], [1.0, 0.17], [0.17, 0.17]])
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, n) for n in range(4)])


def _arc() -> Outline:
    outer, inner = (_circle(radius, 0.0, 1.1 * math.pi) for radius in (1.0, 0.72))
    return np.concatenate([outer, inner[::-1]])


KEYPOINTS = ("tip", "left", "tail", "right")
"""The corners of the shapes whose corners can be told apart, in the order of their outlines."""
WITH_KEYPOINTS = ("kite", "dart")

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
_OUTLINES: dict[str, Outline] = {
    "disc": _circle(1.0),
    "ring": _circle(1.0),
    "square": _CORNERS * math.sqrt(0.5),
    "star": _star(),
    "triangle": _circle(1.0, count=3),
    "kite": np.array([[0.8, 0.0], [0.25, -0.65], [-1.0, 0.0], [0.25, 0.65]]),
    "dart": np.array([[1.0, 0.0], [-0.8, -0.6], [-0.3, 0.0], [-0.8, 0.6]]),
    "bar": _CORNERS * np.array([1.0, 0.12]),
    "ellipse": _circle(1.0) * np.array([1.0, 0.3]),
    "cross": _cross(),
    "arc": _arc(),
}


def shape_mask(kind: str, size: float, angle: float, stretch: float, hole: float = 0.55) -> Mask:
    """Return the coverage of a shape, 0 to 255, in a square patch centred on it.

    Args:
        kind: disc, ring, square, triangle, star, kite or dart; bar, ellipse, cross or arc for clutter.
        size: diameter of the circle around the unstretched shape, in pixels.
        angle: rotation in radians.
        stretch: factor on the width and, inverted, on the height, before the rotation.
        hole: inner diameter of a ring as a fraction of the outer one.
    """
    side = _side(size, stretch)
    mask = np.zeros((side * _FINE, side * _FINE), dtype=np.uint8)
    outlines = [(_OUTLINES[kind], 255)] + ([(_circle(hole), 0)] if kind == "ring" else [])
    for points, value in outlines:
        at = np.round(_placed(points, size, angle, stretch) * _FINE).astype(np.int32)
        cv2.fillPoly(mask, [at], value)
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def shape_corners(kind: str, size: float, angle: float, stretch: float) -> Outline:
    """Return the (P, 2) corners of a shape in pixels of its patch; see `shape_mask`."""
    return _placed(_OUTLINES[kind], size, angle, stretch)


def _side(size: float, stretch: float) -> int:
    return math.ceil(size * max(stretch, 1 / stretch)) + 4


def _placed(points: Outline, size: float, angle: float, stretch: float) -> Outline:
    """Return points of an outline, stretched, turned and in the middle of a patch."""
    scaled = points * (size / 2) * np.array([stretch, 1 / stretch])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    placed: Outline = scaled @ turn + _side(size, stretch) / 2
    return placed


def texture(rng: np.random.Generator, side: int, first: Pixels, second: Pixels) -> Pixels:
    """Return a (side, side, 3) patch of two colours: plain, striped, chequered, dotted, shaded or mottled.

    Args:
        rng: decides which, and its scale and direction.
        side: length of the sides in pixels.
        first: (3,) the main colour.
        second: (3,) the other colour.
    """
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 16)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    u = x * math.cos(angle) + y * math.sin(angle)
    v = y * math.cos(angle) - x * math.sin(angle)
    match int(rng.integers(6)):
        case 0:
            share = np.zeros((side, side), dtype=np.float32)
        case 1:
            share = (np.mod(u, period) > period * 0.6).astype(np.float32)
        case 2:
            share = (np.mod(np.floor(u / period) + np.floor(v / period), 2)).astype(np.float32)
        case 3:
            share = (
                np.hypot(np.mod(u, period) - period / 2, np.mod(v, period) - period / 2) < period * 0.3
            ).astype(np.float32)
        case 4:
            share = (u - u.min()) / max(float(np.ptp(u)), 1.0)
        case _:
            share = mottle(rng, side, side, 5.0)
    mixed = first + share[..., None] * (second.astype(np.float32) - first)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def mottle(rng: np.random.Generator, height: int, width: int, grain_px: float) -> NDArray[np.float32]:
    """Return (height, width) smooth noise in [0, 1] whose blotches are about `grain_px` wide."""
    coarse = rng.random((math.ceil(height / grain_px) + 1, math.ceil(width / grain_px) + 1), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return smooth.astype(np.float32)
