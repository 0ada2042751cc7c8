from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.coco import CocoResult, evaluate_coco
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, UNUSED, MatchRecords
from detkit.evaluation.metrics.voc import VocResult, evaluate_voc
from tests.reference.official_coco import official_coco
from tests.reference.random_sets import random_sets


def official_records(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(D, 10) state and (D, 10) matched object of pycocotools, for all sizes of object."""
    truth, found = random_sets(seed)
    row_of = {int(i): row for row, i in enumerate(truth.ids)}
    state = np.full((len(found.scores), 10), UNUSED)
    matched = np.full((len(found.scores), 10), -1)
    for cell in official_coco(truth, found).evalImgs:
        if cell is None or cell["aRng"] != [0, 1e5**2]:
            continue
        for column, result_id in enumerate(cell["dtIds"]):
            for t in range(10):
                object_id = int(cell["dtMatches"][t, column])
                ignored = bool(cell["dtIgnore"][t, column])
                hit = TRUE_POSITIVE if object_id else FALSE_POSITIVE
                state[result_id - 1, t] = IGNORED if ignored else hit
                matched[result_id - 1, t] = row_of[object_id] if object_id else -1
    return state, matched


def records_of(seed: int) -> MatchRecords:
    result = evaluate_coco(*random_sets(seed), records=True)
    assert result.records is not None
    return result.records


@pytest.mark.parametrize("seed", range(30))
def test_records_are_the_official_matches(seed: int) -> None:
    truth, found = random_sets(seed)
    records = records_of(seed)
    state, matched = official_records(seed)
    np.testing.assert_array_equal(records.state, state)
    of_id_zero = np.isin(records.matched, np.flatnonzero(truth.ids == 0))  # reads as no match there
    np.testing.assert_array_equal(np.where(of_id_zero, -1, records.matched), matched)
    assert (records.iou[records.matched >= 0] >= 0.5).all()
    assert (records.iou[records.matched < 0] == 0).all()
    taken = (
        found.labels[:, None] == truth.labels[np.maximum(records.matched, 0)] if len(truth.labels) else True
    )
    assert np.all((records.matched < 0) | taken)


@pytest.mark.parametrize("seed", range(10))
def test_objects_and_detections_point_at_each_other(seed: int) -> None:
    truth, _ = random_sets(seed)
    records = records_of(seed)
    for m, t in zip(*np.nonzero(records.found_by >= 0), strict=True):
        assert records.matched[records.found_by[m, t], t] == m
    for d, t in zip(*np.nonzero(records.matched >= 0), strict=True):
        m = records.matched[d, t]
        assert truth.crowd[m] or records.found_by[m, t] == d


def test_records_of_both_metrics_on_the_example() -> None:
    truth, found = two_images()
    coco = evaluate_coco(truth, found, records=True).records
    voc = evaluate_voc(truth, found, records=True).records
    assert coco is not None
    assert voc is not None
    at_50 = coco.at(0.5)
    assert coco.state[:, at_50].tolist() == voc.state[:, 0].tolist() == [1, 0, 1, 0]
    assert coco.matched[:, at_50].tolist() == voc.matched[:, 0].tolist() == [0, -1, 1, -1]
    assert coco.found_by[:, at_50].tolist() == voc.found_by[:, 0].tolist() == [0, 2, -1]
    assert coco.iou[2].round(3).tolist() == [0.8] * 7 + [0.0] * 3
    assert evaluate_coco(truth, found).records is None


@pytest.mark.parametrize("evaluate", [evaluate_voc, evaluate_coco])
@pytest.mark.parametrize("seed", range(10))
def test_records_of_the_surest_detections_are_those_of_matching_them_alone(
    evaluate: Callable[..., CocoResult | VocResult], seed: int
) -> None:
    truth, found = random_sets(seed)
    lowest = np.random.default_rng(seed).random(len(truth.classes))
    kept = found.scores >= lowest[found.labels]
    part = evaluate(truth, found, records=True).records.of(kept)
    alone = evaluate(truth, found.of(kept), records=True).records
    for name in ("state", "matched", "iou", "order", "starts", "counts", "thresholds"):
        np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
    counting = part.counts  # of several detections on a crowd the last one is kept, which may be gone
    np.testing.assert_array_equal(part.found_by[counting], alone.found_by[counting])
