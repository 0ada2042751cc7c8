from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.errors import find_errors
from detkit.evaluation.analysis.outcomes import FOUND, IGNORED_OBJECT, OUTCOMES, UNSEEN, object_outcomes
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.matching import MatchRecords
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


def records_of(truth: AnnotationSet, found: DetectionSet) -> MatchRecords:
    records = evaluate_coco(truth, found, max_detections=(1, 4, 5), records=True).records
    assert records is not None
    return records


def test_each_fate_in_one_scene() -> None:
    def box(i: int) -> tuple[float, float, float, float]:
        return (150.0 * i, 0.0, 100.0, 100.0)

    names = ["found", "shared", "misnamed", "misplaced", "unseen", "over_limit", "ignored"]
    objects = [("a", box(0)), ("a", (0.0, 10.0, 100.0, 100.0)), *(("a", box(i)) for i in range(1, 6))]
    truth, found = scene(
        objects,
        [
            ("a", 0.9, box(0)),
            ("b", 0.8, box(1)),
            ("a", 0.7, (300.0, 0.0, 40.0, 100.0)),
            *[("a", 0.6, (0.0, 900.0, 9.0, 9.0))] * 3,
            ("a", 0.1, box(4)),
        ],
    )
    truth = replace(truth, crowd=np.arange(7) == 6)
    outcomes = object_outcomes(truth, found, records_of(truth, found))
    assert [OUTCOMES[outcome] for outcome in outcomes] == names


@pytest.mark.parametrize("seed", range(10))
def test_fates_agree_with_the_records_and_the_kinds_of_error(seed: int) -> None:
    truth, found = random_sets(seed)
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    outcomes = object_outcomes(truth, found, records)
    np.testing.assert_array_equal(outcomes == FOUND, (records.found_by[:, 0] >= 0) & records.counts)
    np.testing.assert_array_equal(outcomes == IGNORED_OBJECT, ~records.counts)
    assert not ((outcomes == UNSEEN) & ~find_errors(truth, found, records).missed).any()


def test_fates_at_exactly_the_thresholds() -> None:
    objects = [("a", (200.0 * i, 0.0, 100.0, 100.0)) for i in range(4)]
    truth, found = scene(
        objects,
        [
            ("a", 0.9, (0.0, 0.0, 50.0, 100.0)),  # IoU 0.5
            ("b", 0.8, (200.0, 0.0, 50.0, 100.0)),
            ("a", 0.7, (400.0, 0.0, 10.0, 100.0)),  # 0.1
            ("a", 0.6, (600.0, 0.0, 9.9, 100.0)),
        ],
    )
    outcomes = object_outcomes(truth, found, records_of(truth, found))
    assert [OUTCOMES[outcome] for outcome in outcomes] == ["found", "misnamed", "misplaced", "unseen"]
