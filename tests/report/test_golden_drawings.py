"""Drawings as somebody looked at them: tests/golden/*.png."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detkit.report.draw import draw_detections, draw_targets, tile_images
from tests.reference.golden import golden_picture

CLASSES = ("cat", "dog", "a class of a long name")
OTHER_LETTERS = 0.002  # of the pixels: a version of OpenCV may set letters otherwise


def ground(side: int = 1) -> np.ndarray:
    """Four fields of another colour each."""
    rows, columns = np.mgrid[: 150 * side, : 220 * side] // (80 * side)
    return np.stack([60 + 50 * rows, 100 + 30 * columns, 90 + 0 * rows], axis=2).astype(np.uint8)


def detections(weight: float = 1.0, side: int = 1) -> np.ndarray:
    boxes = side * np.array(
        [
            [20.0, 40, 100, 110],
            [25, 48, 96, 120],
            [120.4, 30.6, 210.5, 140],
            [150, 60, 190, 100],
            [-5, 100, 60, 160],
        ]
    )
    scores = np.array([0.9, 0.35, 0.62, 0.051, 0.7])
    labelled = side * np.array([[22.0, 42, 98, 112], [125, 20, 205, 144]])
    labels = np.array([0, 1, 2, 1, 0])
    return draw_detections(ground(side), boxes, labels, scores, CLASSES, labelled=labelled, weight=weight)


def targets() -> np.ndarray:
    boxes = np.array([[30.0, 50, 120, 130], [140, 20, 215, 90]])
    near = np.array([[28.0, 48, 110, 122], [34, 55, 128, 138], [138, 24, 210, 95]])
    return draw_targets(ground(), boxes, np.array([1, 2]), CLASSES, anchors=near, regions=near[:2] + 6)


def sheet() -> np.ndarray:
    pictures = [detections(), targets()[:, :90], ground()[:40], ground()]
    captions = ["first.jpg", "a caption that is longer than its cell, by far", "", "4"]
    return tile_images(pictures, 3, captions=captions, cell_px=120)


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("detections", detections),
        ("detections_large", lambda: detections(side=3)),
        ("detections_heavy", lambda: detections(weight=2.5)),
        ("targets", targets),
        ("sheet", sheet),
    ],
)
def test_drawings_are_the_golden_ones(name: str, draw: Callable[[], np.ndarray]) -> None:
    found = draw()
    wanted = golden_picture(f"drawn_{name}.png", found)
    assert found.shape == wanted.shape
    assert (found != wanted).any(axis=2).mean() <= OTHER_LETTERS
