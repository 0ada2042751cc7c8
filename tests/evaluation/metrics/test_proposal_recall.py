from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.evaluation.metrics.proposal_recall import evaluate_proposals
from tests.reference.error_kinds import iou_xywh
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


@pytest.mark.parametrize("seed", range(20))
def test_coverage_against_all_pairs(seed: int) -> None:
    truth, found = random_sets(seed)
    dice = np.random.default_rng(
        seed
    )  # no two pairs are equally good: the rule does not say which comes first
    truth = replace(truth, boxes=truth.boxes + dice.uniform(0, 1e-3, truth.boxes.shape))
    found = replace(found, boxes=found.boxes + dice.uniform(0, 1e-3, found.boxes.shape))
    limit = 7
    result = evaluate_proposals(truth, found, limits=(limit,))
    own, best = {}, {}
    for image in range(truth.num_images):
        rows = np.flatnonzero(found.images == image)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")][:limit]
        objects = [
            m
            for m in range(truth.offsets[image], truth.offsets[image + 1])
            if not (truth.crowd[m] or truth.difficult[m])
        ]
        pairs = [
            (iou_xywh(found.boxes[d].tolist(), truth.boxes[m].tolist()), d, m) for d in rows for m in objects
        ]
        for m in objects:
            best[m] = max((iou for iou, _, o in pairs if o == m), default=0.0)
            own[m] = 0.0
        ious = [iou for iou, _, _ in pairs if iou > 0]
        assert len(ious) == len(set(ious))
        used: set[int] = set()
        for iou, d, m in sorted(pairs, key=lambda pair: -pair[0]):
            if own[m] == 0 and d not in used and iou > 0:
                own[m] = iou
                used.add(d)
    if not own:
        assert np.isnan(result.recall).all()
        return
    for t, iou in enumerate(result.ious):
        expected = np.mean([value >= iou for value in own.values()])
        assert result.recall[0, t] == pytest.approx(expected, abs=1e-9)
    for k in range(len(truth.classes)):
        of_class = [value for m, value in best.items() if truth.labels[m] == k]
        expected = np.mean(of_class) if of_class else np.nan
        assert result.abo[0, k] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_average_recall_is_the_integral_of_recall() -> None:
    truth, found = random_sets(3)
    fine = tuple((0.5 + (np.arange(2000) + 0.5) / 4000).tolist())
    result = evaluate_proposals(truth, found, limits=(50,), ious=fine)
    assert result.average_recall[0] == pytest.approx(result.recall[0].mean(), abs=1e-3)


def test_one_box_serves_one_object_in_recall_and_many_in_abo() -> None:
    box = (0.0, 0.0, 100.0, 100.0)
    result = evaluate_proposals(*scene([("a", box), ("b", box)], [("a", 0.9, box)]), limits=(10,))
    assert result.recall[0].tolist() == [0.5] * 4
    assert result.mabo[0] == 1.0
    assert result.average_recall[0] == 0.5
    assert result.boxes_per_image.tolist() == [1.0]


def test_images_without_boxes_count_as_missed() -> None:
    truth, found = random_sets(4)
    nothing = replace(
        found,
        images=found.images[:0],
        labels=found.labels[:0],
        scores=found.scores[:0],
        boxes=found.boxes[:0],
    )
    result = evaluate_proposals(truth, nothing)
    assert result.recall.sum() == 0
    assert result.boxes_per_image.tolist() == [0.0] * 4


def test_an_iou_of_just_the_threshold_counts() -> None:
    truth, found = scene([("a", (0.0, 0.0, 100.0, 100.0))], [("a", 0.9, (0.0, 0.0, 100.0, 50.0))])
    result = evaluate_proposals(truth, found, limits=(10,), ious=(0.5, 0.5000001))
    assert result.recall[0].tolist() == [1.0, 0.0]
