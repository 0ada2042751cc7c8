from __future__ import annotations

import numpy as np
import pytest

from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


def every_cut(state: np.ndarray, scores: np.ndarray, num_objects: int) -> list[tuple[float, float, float]]:
    """(threshold, precision, recall) for every score, counted anew each time."""
    cuts = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        kept = state[scores >= threshold]
        true, false = (kept == TRUE_POSITIVE).sum(), (kept == FALSE_POSITIVE).sum()
        cuts.append((threshold, true / (true + false) if true + false else 0.0, true / num_objects))
    return cuts


@pytest.mark.parametrize("seed", range(20))
def test_advice_is_the_best_of_all_cuts(seed: int) -> None:
    truth, found = random_sets(seed)
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    advice = advise_thresholds(truth, found, records, precision=0.5, recall=0.3)
    for k in range(len(truth.classes)):
        rows = records.rows_of(k, 0)
        num_objects = int((records.counts & (truth.labels == k)).sum())
        cuts = every_cut(records.state[rows, 0], found.scores[rows], max(num_objects, 1))
        found_some = [(t, p, r) for t, p, r in cuts if r > 0]
        for operating, allowed, aim in (
            (advice.max_f1, found_some, lambda c: 2 * c[1] * c[2] / (c[1] + c[2])),
            (advice.at_precision, [c for c in found_some if c[1] >= 0.5], lambda c: c[2]),
            (advice.at_recall, [c for c in found_some if c[2] >= 0.3], lambda c: c[1]),
        ):
            if not allowed:
                assert np.isnan(operating.threshold[k])
                continue
            best = max(allowed, key=aim)  # the first of equals has the higher threshold
            assert operating.threshold[k] == best[0]
            assert operating.precision[k] == pytest.approx(best[1])
            assert operating.recall[k] == pytest.approx(best[2])


def test_what_is_asked_for_may_be_just_reached_and_equal_scores_stay_together() -> None:
    boxes = [(200.0 * i, 0.0, 100.0, 100.0) for i in range(4)]
    nowhere = (0.0, 500.0, 10.0, 10.0)
    truth, found = scene(
        [("a", box) for box in boxes],
        [("a", 0.9, boxes[0]), ("a", 0.7, boxes[1]), ("a", 0.7, nowhere), ("a", 0.6, boxes[2])],
        "a",
    )
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    advice = advise_thresholds(truth, found, records, precision=0.75, recall=0.75)
    for operating in (advice.at_precision, advice.at_recall, advice.max_f1):
        assert [float(v[0]) for v in vars(operating).values()] == [0.6, 0.75, 0.75, 0.75]
    advice = advise_thresholds(truth, found, records, precision=0.76, recall=0.76)
    assert advice.at_precision.threshold.tolist() == [0.9]
    assert np.isnan([v[0] for v in vars(advice.at_recall).values()]).all()
