from __future__ import annotations

import numpy as np

from detkit.evaluation.metrics.window_curve import WindowCounts, miss_rates


def test_each_object_is_a_threshold_at_which_windows_are_counted() -> None:
    chance = np.random.default_rng(0)
    objects = [chance.normal(1, 1, 40).astype(np.float32), np.zeros(0, np.float32)]
    background = [[chance.normal(-1, 1, size).astype(np.float32) for size in (300, 10)] for _ in range(4)]
    background[2][0][:5] = objects[0][:5]  # as high as an object: false
    counts = WindowCounts(objects)
    for one in background:
        counts.add(one)
    curve, nothing = counts.curves()
    windows = np.concatenate([one[0] for one in background])
    assert (np.diff(curve.scores) <= 0).all()
    for threshold, false, missed in zip(curve.scores, curve.false_positives, curve.miss_rate, strict=True):
        assert false == (windows >= threshold).mean()
        assert missed == 1 - (objects[0] >= threshold).mean()
    assert len(nothing.miss_rate) == 0
    assert set(miss_rates(nothing).values()) == {None}


def test_the_miss_rate_at_a_reference_is_that_of_the_last_threshold_with_no_more_false_windows() -> None:
    counts = WindowCounts([np.array([3.0, 1.0])])
    counts.add([np.concatenate([[2.0], np.full(9999, -5.0)])])
    assert miss_rates(counts.curves()[0]) == {"1e-06": 0.5, "1e-05": 0.5, "0.0001": 0, "0.001": 0, "0.01": 0}
