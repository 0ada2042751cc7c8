from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.errors import DETECTION_ERRORS, NO_ERROR, Errors, find_errors
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.curves import mean_known
from detkit.evaluation.metrics.matching import FALSE_POSITIVE
from tests.reference.error_kinds import error_kind
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


def errors_of(truth: AnnotationSet, found: DetectionSet) -> Errors:
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    return find_errors(truth, found, records)


def test_each_kind_in_one_scene() -> None:
    truth, found = scene(
        [
            ("a", (0, 0, 100, 100)),
            ("b", (200, 0, 100, 100)),
            ("a", (400, 0, 100, 100)),
            ("c", (600, 0, 100, 100)),
        ],
        [
            ("a", 0.9, (0, 0, 100, 100)),
            ("a", 0.8, (0, 0, 100, 95)),
            ("c", 0.7, (200, 0, 100, 100)),
            ("a", 0.6, (400, 0, 40, 100)),
            ("b", 0.5, (0, 0, 30, 100)),
            ("b", 0.4, (800, 800, 50, 50)),
        ],
    )
    errors = errors_of(truth, found)
    names = [DETECTION_ERRORS[k] if k != NO_ERROR else "right" for k in errors.kind]
    assert names == ["right", "duplicate", "classification", "localisation", "both", "background"]
    assert errors.missed.tolist() == [False, False, False, True]
    assert errors.counts == dict.fromkeys([*DETECTION_ERRORS, "missed"], 1)


@pytest.mark.parametrize("seed", range(20))
def test_kinds_are_those_of_the_slow_reference(seed: int) -> None:
    truth, found = random_sets(seed)
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    errors = find_errors(truth, found, records)
    for d in range(len(found.scores)):
        if records.state[d, 0] == FALSE_POSITIVE:
            expected = error_kind(truth, found, d, records.counts.tolist())
            assert DETECTION_ERRORS[errors.kind[d]] == expected
        else:
            assert errors.kind[d] == NO_ERROR


def without(found: DetectionSet, rows: np.ndarray) -> DetectionSet:
    kept = ~rows
    columns = {name: getattr(found, name)[kept] for name in ("images", "labels", "scores", "boxes")}
    return replace(found, **columns)


@pytest.mark.parametrize("seed", range(20))
def test_the_cost_of_a_removed_kind_is_what_scoring_again_gains(seed: int) -> None:
    truth, found = random_sets(seed)
    truth = replace(truth, ids=np.arange(1, truth.num_objects + 1))
    errors = errors_of(truth, found)
    ap = mean_known(evaluate_coco(truth, found).per_class_ap50)
    assert errors.ap == pytest.approx(ap, abs=1e-9, nan_ok=True)
    if len(found.scores) > 100:  # removing some lets others come under the limit of 100
        return
    for k, name in enumerate(DETECTION_ERRORS):
        if name in {"both", "duplicate", "background"}:
            better = mean_known(evaluate_coco(truth, without(found, errors.kind == k)).per_class_ap50)
            assert errors.cost[name] == pytest.approx(better - ap, abs=1e-9, nan_ok=True)


def test_mending_moves_a_misnamed_detection_onto_its_object() -> None:
    truth, found = scene(
        [("a", (0, 0, 100, 100)), ("b", (200, 0, 100, 100))],
        [("a", 0.9, (0, 0, 100, 100)), ("a", 0.8, (200, 0, 100, 100))],
    )
    errors = errors_of(truth, found)
    assert errors.ap == pytest.approx(0.5)
    assert errors.cost["classification"] == pytest.approx(0.5)
    assert errors.cost["missed"] == 0
    assert errors.cost["localisation"] == 0


def test_mending_keeps_the_best_of_several_on_one_object() -> None:
    truth, found = scene(
        [("a", (0, 0, 100, 100)), ("a", (500, 500, 100, 100))],
        [("a", 0.9, (0, 0, 45, 100)), ("a", 0.8, (0, 0, 48, 100))],
    )
    errors = errors_of(truth, found)
    assert errors.counts["localisation"] == 2
    assert errors.ap == 0
    assert errors.cost["localisation"] == pytest.approx(51 / 101)  # one of two objects, not both


def test_a_class_that_was_missed_entirely_is_worth_its_whole_ap() -> None:
    truth, found = scene([("a", (0, 0, 100, 100)), ("b", (200, 0, 100, 100))], [("a", 0.9, (0, 0, 100, 100))])
    errors = errors_of(truth, found)
    assert errors.cost["missed"] == pytest.approx(0.5)
    assert errors.cost["false_negatives"] == pytest.approx(0.5)


def test_no_objects_and_no_detections() -> None:
    errors = errors_of(*scene([], []))
    assert np.isnan(errors.ap)
    assert sum(errors.counts.values()) == 0


def test_kinds_at_exactly_the_thresholds() -> None:
    truth, found = scene(
        [
            ("a", (0, 0, 100, 100)),
            ("a", (200, 0, 100, 100)),
            ("a", (400, 0, 100, 100)),
            ("b", (600, 0, 100, 100)),
        ],
        [
            ("a", 0.9, (0, 0, 50, 100)),  # right: IoU 0.5
            ("a", 0.8, (0, 0, 50, 100)),  # the same once more
            ("b", 0.7, (200, 0, 50, 100)),  # 0.5 with an object of another class
            ("a", 0.6, (400, 0, 10, 100)),  # 0.1 with one of its own
            ("b", 0.5, (400, 0, 9.9, 100)),  # less than that with any
            ("a", 0.4, (600, 0, 10, 100)),  # 0.1 with one of another class: neither here nor there
        ],
    )
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    errors = find_errors(truth, found, records)
    names = [DETECTION_ERRORS[kind] if kind >= 0 else "" for kind in errors.kind]
    assert names == ["", "duplicate", "classification", "localisation", "background", "both"]
    assert errors.missed.tolist() == [False, False, False, True]
    assert errors.counts == dict.fromkeys(DETECTION_ERRORS, 1) | {"missed": 1}
