from __future__ import annotations

import numpy as np
import pytest

from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.curves import curves_by_class, interpolated_ap
from detkit.evaluation.metrics.voc import evaluate_voc
from tests.reference.random_sets import random_sets


@pytest.mark.parametrize("seed", range(20))
def test_the_curves_of_the_records_hold_the_metrics_ap(seed: int) -> None:
    truth, found = random_sets(seed)
    result = evaluate_coco(truth, found, records=True)
    assert result.records is not None
    curves = curves_by_class(truth, found, result.records)
    for k, ap in enumerate(result.per_class_ap50):
        if not np.isnan(ap):
            assert interpolated_ap(curves[k].recall, curves[k].precision) == pytest.approx(ap, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_scores_fall_and_recall_rises(seed: int) -> None:
    truth, found = random_sets(seed)
    for curve in evaluate_voc(truth, found).curves:
        assert (np.diff(curve.scores) <= 0).all()
        assert (np.diff(curve.recall) >= 0).all()
        assert ((curve.precision >= 0) & (curve.precision <= 1)).all()
