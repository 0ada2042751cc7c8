from __future__ import annotations

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.training.staged.feature_store import feature_scale


def test_one_factor_brings_the_mean_norm_to_twenty() -> None:
    images = [np.random.default_rng(i).random((3 + i, 5)).astype(np.float32) for i in range(4)]
    scale = feature_scale(lambda image: images[image], 4, seed=0)
    norms = np.linalg.norm(np.concatenate(images) * scale, axis=1)
    assert norms.mean() == pytest.approx(20.0)
    assert norms.std() > 0.1  # not each vector to the same length


def test_at_most_two_hundred_images_and_boxes_are_looked_at() -> None:
    asked: list[int] = []

    def features(image: int) -> np.ndarray:
        asked.append(image)
        rows = np.full((1000, 1), 2.0)
        rows[0] = 1e9 if image < 0 else 2.0
        return rows

    assert feature_scale(features, 500, seed=1) == pytest.approx(10.0)
    assert len(asked) == len(set(asked)) == 200
    first = list(asked)
    asked.clear()
    feature_scale(features, 500, seed=1)
    assert asked == first
    asked.clear()
    feature_scale(features, 500, seed=2)
    assert asked != first


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.zeros((2, 3)), np.full((2, 3), np.nan)])
def test_features_that_say_nothing_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(UserError, match="features"):
        feature_scale(lambda image: rows, 2, seed=0)
