from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.evaluation.analysis.thresholds import Operating, advise_thresholds
from detkit.evaluation.example import two_images_matched
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE
from detkit.report.operating_point import OperatingPoint, operating_point


def at(*thresholds: float) -> OperatingPoint:
    chosen = np.array(thresholds)
    return operating_point(*two_images_matched(), Operating(chosen, chosen, chosen, chosen))


def test_what_counts_are_the_detections_from_the_threshold_of_their_class_on() -> None:
    point = at(0.95, 0.7)
    assert point.found.scores.tolist() == [0.8, 0.7]
    assert point.records.state[:, 0].tolist() == [FALSE_POSITIVE, TRUE_POSITIVE]
    assert point.confusion.tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 0]]
    assert (point.right.tolist(), point.false.tolist(), point.missed.tolist()) == ([0, 1], [0, 1], [1, 1])
    assert point.errors.counts["background"] == 1


def test_the_figures_are_those_of_the_confusion_matrix() -> None:
    recall, precision, score = at(0.9, 0.7).numbers(0.1)
    assert (recall.value, recall.note) == (2 / 3, "2 of 3 objects found")
    assert (precision.value, precision.note) == (2 / 3, "1 of 3 detections false")
    assert (score.value, score.note) == ("0.70–0.90", "of best F1, by class; all: from 0.10")


def test_scores_below_zero_count_like_others() -> None:
    truth, found, records = two_images_matched()
    shifted = replace(found, scores=found.scores - 2)
    best = advise_thresholds(truth, shifted, records).max_f1
    assert operating_point(truth, shifted, records, best).right.tolist() == [1, 1]


def test_a_class_without_a_threshold_counts_from_one_half() -> None:
    point = at(np.nan, np.nan)
    assert point.thresholds.tolist() == [0.5, 0.5]
    assert point.found.scores.tolist() == [0.9, 0.8, 0.7]
