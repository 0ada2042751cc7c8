"""Key point numbers against pycocotools, and against the definitions."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detkit.annotations.coordinates import boxes_as, points_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.keypoints import KeypointLayout, num_labelled
from detkit.errors import UserError
from detkit.evaluation.example import two_images
from detkit.evaluation.measure import measure
from detkit.evaluation.metrics.oks import COCO_SIGMAS, OksResult, evaluate_oks
from detkit.evaluation.metrics.pcp import evaluate_pcp
from tests.reference.official_coco import coco_json, results_json
from tests.reference.random_sets import random_sets

PEOPLE = KeypointLayout(tuple(COCO_SIGMAS), ((5, 7), (7, 9), (5, 6)))


def random_keypoints(seed: int, layout: KeypointLayout) -> tuple[AnnotationSet, DetectionSet]:
    """Random boxes with points in them: hidden, unlabelled, of objects without any; copies, near and far."""
    truth, found = random_sets(seed)
    rng, count = np.random.default_rng([7, seed]), len(layout.names)
    spread = rng.random((truth.num_objects, count, 2)) * truth.boxes[:, None, 2:]
    seen = rng.integers(0, 3, (truth.num_objects, count, 1)) * (rng.random((truth.num_objects, 1, 1)) < 0.8)
    points = np.concatenate([truth.boxes[:, None, :2] + spread, seen], axis=2) * (seen > 0)
    own = found.boxes[:, None, :2] + rng.random((len(found.scores), count, 2)) * found.boxes[:, None, 2:]
    for row in range(len(own)):  # most of them belong to an object of their image and class
        same = np.flatnonzero(
            (truth.image_index() == found.images[row]) & (truth.labels == found.labels[row])
        )
        if len(same) and rng.random() < 0.8:
            pick = rng.choice(same)
            near = (
                rng.normal(size=(count, 2)) * math.sqrt(truth.areas[pick]) * rng.choice([0, 0.02, 0.08, 0.3])
            )
            own[row] = points[pick, :, :2] + near
    return replace(truth, keypoints=points, layout=layout), replace(found, keypoints=own)


def official(truth: AnnotationSet, found: DetectionSet, sigmas: tuple[float, ...]) -> COCOeval:
    content, results = coco_json(truth), results_json(truth, found)
    assert truth.keypoints is not None
    assert found.keypoints is not None
    numbers = num_labelled(truth.keypoints).tolist()
    for one, own, number in zip(content["annotations"], truth.keypoints, numbers, strict=True):
        one |= {"keypoints": own.ravel().tolist(), "num_keypoints": number}
    for result, own in zip(results, found.keypoints, strict=True):
        del result["bbox"]  # with one, the official code takes it for the size of a detection
        result["keypoints"] = np.pad(own, ((0, 0), (0, 1))).ravel().tolist()
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        annotations.dataset = content
        annotations.createIndex()
        if results:
            detections: Any = annotations.loadRes(results)
        else:
            detections = COCO()
            detections.dataset = {**content, "annotations": []}
            detections.createIndex()
        scorer = COCOeval(annotations, detections, "keypoints")
        scorer.params.kpt_oks_sigmas = np.asarray(sigmas)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer


def require_same(seed: int, layout: KeypointLayout = PEOPLE, sigmas: tuple[float, ...] = ()) -> OksResult:
    truth, found = random_keypoints(seed, layout)
    ours = evaluate_oks(truth, found, sigmas, threads=1)
    theirs = official(truth, found, sigmas or tuple(COCO_SIGMAS.values()))
    areas = [0, 2, 3]  # the official code has no small people
    for name in ("precision", "recall", "scores"):
        expected = theirs.eval[name]
        np.testing.assert_array_equal(getattr(ours, name)[..., areas, :], expected, err_msg=name)
    stats = np.array(list(ours.stats.values()))
    np.testing.assert_array_equal(np.where(np.isnan(stats), -1, stats), theirs.stats)
    return ours


@pytest.mark.parametrize("block", range(4))
def test_arrays_and_numbers_are_the_official_ones(block: int) -> None:
    found = [require_same(seed) for seed in range(20 * block, 20 * block + 20)]
    assert any(0 < one.stats["AP"] < 1 for one in found)


def test_sets_of_other_points_are_the_official_ones() -> None:
    for seed in range(200, 230):
        count = seed % 11 + 1
        require_same(
            seed, KeypointLayout(tuple(map(str, range(count)))), tuple(0.02 + 0.01 * np.arange(count))
        )


def test_sigmas_are_the_official_ones_in_their_order() -> None:
    scorer = COCOeval(iouType="keypoints")
    np.testing.assert_allclose(list(COCO_SIGMAS.values()), scorer.params.kpt_oks_sigmas)
    assert scorer.params.maxDets == [20]


def test_voc_points_are_scored_as_coco_points() -> None:
    truth, found = random_keypoints(3, PEOPLE)
    assert truth.keypoints is not None
    assert found.keypoints is not None
    moved = replace(
        truth,
        boxes=boxes_as(truth.boxes, "coco", "voc"),
        keypoints=points_as(truth.keypoints, "coco", "voc"),
        box_format="voc",
    )
    shifted = replace(
        found,
        boxes=boxes_as(found.boxes, "coco", "voc"),
        keypoints=points_as(found.keypoints, "coco", "voc"),
        box_format="voc",
    )
    assert moved.keypoints is not None
    assert moved.keypoints[0, 0, 0] == truth.keypoints[0, 0, 0] + 1
    expected = evaluate_oks(truth, found).stats
    assert evaluate_oks(moved, shifted).stats == pytest.approx(expected, nan_ok=True)


def test_what_cannot_be_compared_is_said() -> None:
    truth, found = random_keypoints(3, PEOPLE)
    with pytest.raises(UserError, match="annotations do not have"):
        evaluate_oks(*two_images())
    with pytest.raises(UserError, match="detections do not have"):
        evaluate_oks(truth, replace(found, keypoints=None))
    assert found.keypoints is not None
    with pytest.raises(UserError, match="have 16 key points, the annotations 17: nose, left_eye"):
        evaluate_oks(truth, replace(found, keypoints=found.keypoints[:, :16]))
    with pytest.raises(UserError, match="oks_sigmas: 2 are given, but there are 17"):
        evaluate_oks(truth, found, (0.1, 0.2))


def correct_limbs(truth: AnnotationSet, found: DetectionSet) -> tuple[list[tuple[int, int, bool]], int]:
    """Each labelled limb of the largest object of an image: its place, class, and whether it is right."""
    assert truth.layout is not None
    assert truth.keypoints is not None
    assert found.keypoints is not None
    result = []
    for image in range(truth.num_images):
        rows = range(truth.offsets[image], truth.offsets[image + 1])
        rows = [m for m in rows if not truth.crowd[m] and not truth.difficult[m]]  # type: ignore[assignment]
        if not rows:
            continue
        own = max(rows, key=lambda m: truth.areas[m])
        said = [d for d in range(len(found.scores)) if found.images[d] == image]
        guess = max(said, key=lambda d: found.scores[d]) if said else None
        for limb, ends in enumerate(truth.layout.skeleton):
            points = [truth.keypoints[own, end] for end in ends]
            if all(point[2] > 0 for point in points):
                half = math.dist(points[0][:2], points[1][:2]) / 2
                right = guess is not None and all(
                    math.dist(found.keypoints[guess, end], point[:2]) <= half
                    for end, point in zip(ends, points, strict=True)
                )
                result.append((limb, int(truth.labels[own]), right))
    return result, len(truth.layout.skeleton)


@pytest.mark.parametrize("seed", range(30))
def test_pcp_counts_limbs_with_both_ends_near(seed: int) -> None:
    truth, found = random_keypoints(seed, PEOPLE)
    limbs, number = correct_limbs(truth, found)
    measured = evaluate_pcp(truth, found)

    def share(of: list[bool]) -> float:
        return sum(of) / len(of) if of else math.nan

    np.testing.assert_allclose(measured.total, share([right for *_, right in limbs]))
    for limb in range(number):
        own = share([right for place, _, right in limbs if place == limb])
        np.testing.assert_allclose(measured.per_limb[limb], own)
    for label in range(len(truth.classes)):
        own = share([right for _, kind, right in limbs if kind == label])
        np.testing.assert_allclose(measured.per_class[label], own)


def test_key_points_decide_where_they_are_asked_to() -> None:
    truth, found = random_keypoints(3, PEOPLE)
    measured = measure(truth, found, "oks")
    columns = list(measured.columns)
    assert columns[0] == "oks"
    assert columns[-3:] == ["oks50", "oks75", "pcp"]
    assert measured.value == evaluate_oks(truth, found).stats["AP"]
    assert measured.to_json()["keypoints"].keys() == evaluate_oks(truth, found).stats.keys()
    tight = measure(truth, found, "oks", (0.001,) * 17)
    assert tight.value < measured.value
    assert "pcp" not in measure(replace(truth, layout=KeypointLayout(PEOPLE.names)), found, "oks").columns
