"""Terms that fit into the time there is, against sums written out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from detkit.lineage.budget import CHOICES, Speed, fitted_terms
from detkit.lineage.common_settings import PHOTOS

MEASURED = replace(PHOTOS, boxes=300, regions=40_000, epochs=4, crop_px=64)
SPEED = Speed(
    crop_seconds=0.001, step_seconds=0.5, boxes=240.0, epoch_seconds=400.0, num_train=1000, num_val=500
)


def seconds_of_crops(boxes: int, regions: int, crop_px: int) -> float:
    """R-CNN reads the boxes of training images once and of validation images twice, the windows of a grid
    are twice as many and read in these alone, and both networks are tuned in steps of 128 regions."""
    larger = crop_px**2 / 64**2
    found = 240 * boxes / 300
    rcnn = 0.001 * larger * (1000 * found + 2 * 500 * found)
    windows = 0.001 * larger * 2 * 500 * (2 * boxes)
    tuning = 2 * (regions / 128) * 0.5 * larger
    return rcnn + windows + tuning


@pytest.mark.parametrize("seconds", [100, 1500, 3000, 4500, 10_000, 50_000, 10_000_000])
def test_the_largest_choice_is_taken_that_fits(seconds: float) -> None:
    fitted = fitted_terms(MEASURED, SPEED, seconds)
    fitting = [choice for choice in CHOICES if seconds_of_crops(*choice) <= 0.4 * seconds]
    assert (fitted.boxes, fitted.regions, fitted.crop_px) == (fitting or CHOICES)[0 if fitting else -1]
    # Half of the images are tested twice, in 0.4 of the time of a training step.
    tests = 2 * 0.4 * 0.5 * 400
    assert fitted.epochs == min(max(int((0.4 * seconds - tests) / 400), 1), 16)


def test_more_time_never_means_less() -> None:
    fitted = [fitted_terms(MEASURED, SPEED, 600 * 2**step) for step in range(12)]
    for less, more in itertools.pairwise(fitted):
        assert less.boxes <= more.boxes
        assert less.crop_px <= more.crop_px
        assert less.epochs <= more.epochs
    assert (fitted[0].epochs, fitted[-1].epochs) == (1, 16)


def test_what_is_given_stays() -> None:
    given = replace(MEASURED, boxes=7, epochs=3)
    fitted = fitted_terms(given, SPEED, 10_000_000, frozenset({"boxes", "epochs"}))
    assert (fitted.boxes, fitted.epochs) == (7, 3)
    assert (fitted.regions, fitted.crop_px) == (1_000_000, 224)
