from __future__ import annotations

import numpy as np
import pytest

from detkit.evaluation.metrics.overlaps import nearest_objects
from detkit.evaluation.metrics.score_order import (
    SHORT,
    by_class,
    falling_keys,
    objects_by_image,
    sort_by_score,
    stable_by_key,
)
from tests.reference.small_scene import scene


@pytest.mark.parametrize("count", [0, 1, 2, SHORT - 1, SHORT, SHORT + 1, 500])
@pytest.mark.parametrize("kind", ["any", "ties", "near", "one"])
def test_rows_fall_by_score_and_ties_keep_their_order(count: int, kind: str) -> None:
    rng = np.random.default_rng(count)
    scores = {
        "any": rng.normal(0, 1, count) * 10.0 ** rng.integers(-300, 300, count),
        "ties": rng.integers(-2, 3, count) * 0.25 * rng.choice([-1.0, 1.0], count),  # -0.0 and 0.0 among them
        "near": 0.5 + rng.integers(0, 5, count) * 2.0**-53,  # apart in the last digit alone
        "one": np.full(count, 0.3),
    }[kind]
    rows = rng.permutation(count).astype(np.int32)
    ordered = sort_by_score(falling_keys(scores), rows)
    assert ordered.tolist() == rows[np.argsort(-scores[rows], kind="stable")].tolist()
    keys = falling_keys(scores)
    assert (np.diff(keys[ordered].astype(object)) >= 0).all()


def test_rows_by_class_keep_their_order() -> None:
    labels = np.array([2, 0, 2, 3, 0], np.int32)
    rows, starts = by_class(labels, 5)
    assert (rows.tolist(), starts.tolist()) == ([1, 4, 0, 2, 3], [0, 2, 2, 4, 5, 5])
    rows, starts = stable_by_key(labels.astype(np.int64), 4, np.array([4, 2, 1, 0], np.int32))
    assert (rows.tolist(), starts.tolist()) == ([4, 1, 2, 0], [0, 2, 2, 4, 4])


def test_the_objects_of_an_image_are_a_block() -> None:
    starts, stops = objects_by_image(np.array([0, 1, 4, 5, 6], np.int32), np.array([1, 1, 2, 2, 3, 3, 3]), 5)
    assert [(int(a), int(b)) for a, b in zip(starts, stops, strict=True) if b] == [(0, 2), (2, 5)]
    assert stops.tolist() == [0, 2, 0, 5, 0]


def test_of_objects_that_are_equally_near_the_one_of_the_same_class_is_taken() -> None:
    box = (0.0, 0.0, 100.0, 100.0)
    truth, found = scene(
        [("b", box), ("a", box), ("a", box), ("b", (0.0, 0.0, 90.0, 100.0))],
        [("a", 0.9, box), ("b", 0.8, (0.0, 0.0, 90.0, 100.0)), ("c", 0.7, box), ("a", 0.6, (500, 0, 9, 9))],
    )
    near = nearest_objects(truth, found)
    assert near.same.tolist() == [1, 3, -1, -1]
    assert near.other.tolist() == [0, 1, 0, -1]
    assert near.any.tolist() == [1, 3, 0, -1]
    assert near.any_iou.tolist() == [1, 1, 1, 0]
    assert near.other_iou.tolist() == [1, 0.9, 1, 0]
    few = nearest_objects(truth, found, np.array([False, False, True, False]))
    assert few.any.tolist() == [2, 2, 2, -1]
