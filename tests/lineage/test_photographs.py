"""The photographs that all detectors are shown with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.lineage.photographs import NUM_SHOWN, SIDE_PX, choose_images, draw_photographs, photographs
from tests.lineage.test_losses import detections, labelled, square


def test_images_with_objects_are_chosen_from_all_over_the_set() -> None:
    truth = labelled(40)
    chosen = choose_images(truth)
    assert len(chosen) == NUM_SHOWN
    assert (chosen[0], chosen[-1]) == (0, 39)
    offsets = truth.offsets.copy()
    offsets[1:30] = 0  # the first 29 images have no object, the next one has those of all
    assert min(choose_images(replace(truth, offsets=offsets))) >= 29
    assert choose_images(replace(truth, offsets=np.zeros_like(offsets))) == []


def test_each_detector_has_a_picture_of_each_photograph(tmp_path: Path) -> None:
    truth = labelled(2)
    pixels = np.full((500, 250, 3), 128, np.uint8)
    for name, found in (("a", detections(square(1))), ("b", detections())):
        draw_photographs(tmp_path / name, truth, found, lambda image: pixels)
    folders = [(name, tmp_path / name) for name in ("a", "b", "none")]
    shown = photographs(folders, truth)
    assert [(name, [picture.caption for picture in pictures]) for name, pictures in shown] == [
        ("0.jpg", ["a", "b"]),
        ("1.jpg", ["a", "b"]),
    ]
    (with_box, without), (same, other) = ([p.image for p in pictures] for _, pictures in shown)
    assert with_box.shape == (SIDE_PX, SIDE_PX // 2, 3)
    assert np.array_equal(same, other)
    differing = np.argwhere((with_box != without).any(axis=2))
    assert (differing.min(axis=0) >= [0, 90]).all()  # the second square begins at x = 96
    assert len(differing) > 20
