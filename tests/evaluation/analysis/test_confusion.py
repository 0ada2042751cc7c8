from __future__ import annotations

import numpy as np
import pytest

from detkit.evaluation.analysis.confusion import confusion_matrix
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


def test_right_confused_background_and_missed() -> None:
    truth, found = scene(
        [("a", (0, 0, 100, 100)), ("b", (200, 0, 100, 100)), ("c", (400, 0, 100, 100))],
        [
            ("b", 0.95, (0, 0, 100, 100)),  # on an object that its own class finds too
            ("a", 0.9, (0, 0, 100, 100)),
            ("c", 0.8, (200, 0, 100, 100)),
            ("c", 0.7, (800, 0, 100, 100)),
            ("c", 0.2, (400, 0, 100, 100)),  # too quiet
        ],
    )
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    expected = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0]]
    assert confusion_matrix(truth, found, records).tolist() == expected
    per_class = confusion_matrix(truth, found, records, min_score=np.array([0.5, 0.5, 0.1]))
    assert per_class[2].tolist() == [0, 0, 1, 0]


def test_of_two_objects_that_it_overlaps_alike_a_false_detection_takes_the_first() -> None:
    truth, found = scene([("a", (0, 0, 100, 100)), ("b", (0, 0, 100, 100))], [("c", 0.9, (0, 0, 100, 100))])
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    expected = [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion_matrix(truth, found, records).tolist() == expected


@pytest.mark.parametrize("seed", range(15))
def test_every_object_and_detection_that_counts_is_in_one_cell(seed: int) -> None:
    truth, found = random_sets(seed)
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    matrix = confusion_matrix(truth, found, records, min_score=0.1)
    loud = found.scores >= 0.1
    counted = np.isin(records.state[:, 0], (TRUE_POSITIVE, FALSE_POSITIVE)) & loud
    assert matrix[:, :-1].sum() == counted.sum()
    of_class = np.bincount(truth.labels[records.counts], minlength=len(truth.classes))
    np.testing.assert_array_equal(matrix[:-1].sum(1), of_class)
    true = np.bincount(found.labels[(records.state[:, 0] == TRUE_POSITIVE) & loud], minlength=len(of_class))
    assert (np.diag(matrix)[:-1] >= true).all()


def test_scores_and_overlaps_at_the_threshold_count() -> None:
    truth, found = scene(
        [("a", (0, 0, 100, 100)), ("b", (200, 0, 100, 100))],
        [("a", 0.5, (0, 0, 100, 100)), ("c", 0.5, (200, 0, 50, 100)), ("c", 0.4, (0, 0, 100, 100))],
    )
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    expected = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion_matrix(truth, found, records).tolist() == expected


def test_the_surest_false_detection_takes_its_object_first() -> None:
    box = (0, 0, 100, 100)
    truth, found = scene([("a", box)], [("b", 0.6, box), ("c", 0.9, box), ("c", 0.8, (0, 500, 9, 9))])
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    expected = [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert confusion_matrix(truth, found, records).tolist() == expected
