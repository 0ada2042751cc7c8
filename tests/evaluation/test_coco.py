from __future__ import annotations

import secrets

import numpy as np
import pytest

from detkit.evaluation.coco import IOU_THRESHOLDS, RECALL_THRESHOLDS, evaluate_coco
from tests.reference.official_coco import official_coco
from tests.reference.random_sets import random_sets

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def assert_official(seed: int) -> None:
    truth, found = random_sets(seed)
    official = official_coco(truth, found)
    for records, threads in ((False, 1), (True, 2)):
        ours = evaluate_coco(truth, found, records=records, threads=threads)
        for name in ("precision", "recall", "scores"):
            np.testing.assert_array_equal(getattr(ours, name), official.eval[name], f"seed {seed}: {name}")
    stats = np.array([ours.stats[name] for name in STATS])
    np.testing.assert_array_equal(np.where(np.isnan(stats), -1.0, stats), official.stats, f"seed {seed}")
    np.testing.assert_array_equal(IOU_THRESHOLDS, official.params.iouThrs)
    np.testing.assert_array_equal(RECALL_THRESHOLDS, official.params.recThrs)


@pytest.mark.parametrize("block", range(8))
def test_arrays_are_the_official_ones(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        assert_official(seed)


def test_arrays_are_the_official_ones_on_fresh_data() -> None:
    for _ in range(20):
        assert_official(secrets.randbits(32))


@pytest.mark.slow
def test_arrays_are_the_official_ones_on_a_thousand_sets() -> None:
    for _ in range(1000):
        assert_official(secrets.randbits(32))
