"""Corners of the embedded kites and darts against their pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detkit.data.synthetic.dataset import SYNTHETIC_CLASSES, SyntheticSet
from detkit.data.synthetic.scenes import plan_scene
from detkit.data.synthetic.shapes import KEYPOINTS, shape_corners, shape_mask
from detkit.errors import UserError


@pytest.mark.parametrize("kind", ["kite", "dart"])
@pytest.mark.parametrize("angle", [0.0, 0.7, 3.0])
def test_the_mask_ends_at_the_corners(kind: str, angle: float) -> None:
    mask, corners = shape_mask(kind, 90.0, angle, 1.1), shape_corners(kind, 90.0, angle, 1.1)
    ys, xs = np.nonzero(mask > 64)
    low, high = corners.min(axis=0), corners.max(axis=0)
    assert (xs.min(), ys.min()) == pytest.approx(low, abs=2)
    assert (xs.max(), ys.max()) == pytest.approx(high, abs=2)


@pytest.mark.parametrize("kind", ["kite", "dart"])
def test_left_is_left_of_the_way_from_tail_to_tip(kind: str) -> None:
    for angle in (0.0, 1.0, 4.0):
        tip, left, tail, right = shape_corners(kind, 50.0, angle, 1.0)
        for side, sign in ((left, -1), (right, 1)):
            forth, aside = tip - tail, side - tail
            assert math.copysign(1, forth[0] * aside[1] - forth[1] * aside[0]) == sign  # y points down


def test_corners_lie_at_the_box_of_what_is_visible() -> None:
    checked = 0
    for seed in range(40):
        plan = plan_scene(np.random.default_rng(seed), ("kite", "dart", "disc"))
        assert plan.keypoints.shape == (len(plan.labels), len(KEYPOINTS), 3)
        for points, box, label in zip(plan.keypoints, plan.boxes, plan.labels, strict=True):
            if label == 2:
                assert not points.any()
            elif (points[:, 2] == 2).all():
                checked += 1
                assert points[:, :2].min(axis=0) == pytest.approx(box[:2], abs=3)
                assert points[:, :2].max(axis=0) == pytest.approx(box[2:], abs=3)
            inside = points[points[:, 2] > 0]
            assert (inside[:, :2] >= 0.5).all()
            assert (inside[:, 0] <= plan.width + 0.5).all()
            assert (inside[:, 1] <= plan.height + 0.5).all()
    assert checked > 20


def test_hidden_corners_are_marked_so() -> None:
    plans = [plan_scene(np.random.default_rng(seed), ("kite", "dart")) for seed in range(60)]
    seen = np.concatenate([plan.keypoints[:, :, 2].ravel() for plan in plans])
    assert 0 < (seen == 1).mean() < 0.3
    assert (seen == 2).mean() > 0.5


def test_the_usual_shapes_have_no_key_points_and_stay_as_they_were() -> None:
    plain = SyntheticSet(2).annotations()
    assert plain.keypoints is None
    assert plain.layout is None
    assert "kite" not in SYNTHETIC_CLASSES
    pointed = SyntheticSet(2, classes=("kite", "star")).annotations()
    assert pointed.layout is not None
    assert pointed.layout.mirrored == (0, 3, 2, 1)
    with pytest.raises(UserError, match="star, triangle, kite, dart; found 'cube'"):
        SyntheticSet(2, classes=("cube",))
