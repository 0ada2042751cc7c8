from __future__ import annotations

import numpy as np
import pytest

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.measure import measure
from detkit.evaluation.metrics.localization import evaluate_localization
from tests.reference.random_sets import random_sets


def iou(a: list[float], b: list[float]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return wide * high / (both - wide * high)


def errors(truth: AnnotationSet, found: DetectionSet, guesses: int) -> dict[int, int]:
    """ImageNet's error of each image that counts: 0 where a guess is right, by the definition."""
    boxes, objects = (to_corners(part.boxes, part.box_format).tolist() for part in (found, truth))
    result = {}
    for image in range(truth.num_images):
        rows = range(truth.offsets[image], truth.offsets[image + 1])
        own = [m for m in rows if not truth.crowd[m] and not truth.difficult[m]]
        said = [d for d in range(len(found.scores)) if found.images[d] == image]
        best = sorted(said, key=lambda d: -found.scores[d])[:guesses]
        if own:
            wrong = [
                min(max(found.labels[d] != truth.labels[m], iou(boxes[d], objects[m]) < 0.5) for m in own)
                for d in best
            ]
            result[image] = int(min(wrong, default=1))
    return result


@pytest.mark.parametrize("seed", range(40))
def test_is_one_less_the_error_of_the_challenge(seed: int) -> None:
    truth, found = random_sets(seed)
    measured = evaluate_localization(truth, found)
    for guesses, total, of_class in (
        (1, measured.top1, measured.per_class),
        (5, measured.top5, measured.per_class_top5),
    ):
        wrong = errors(truth, found, guesses)
        wanted = 1 - np.mean(list(wrong.values())) if wrong else np.nan
        np.testing.assert_allclose(total, wanted)
        for label in range(len(truth.classes)):
            counts = (truth.labels == label) & ~truth.crowd & ~truth.difficult
            images = set(truth.image_index()[counts].tolist())
            own = 1 - np.mean([wrong[image] for image in images]) if images else np.nan
            np.testing.assert_allclose(of_class[label], own)


def test_it_decides_where_it_is_asked_for() -> None:
    truth, found = random_sets(3)
    measured = measure(truth, found, "top1_loc")
    assert next(iter(measured.columns)) == "top1_loc"
    assert measured.value == evaluate_localization(truth, found).top1
    assert measured.to_json()["top5_loc"] == pytest.approx(evaluate_localization(truth, found).top5)
    assert len(measured.records.thresholds) == 10
