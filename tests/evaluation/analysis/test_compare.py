from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet, DetectionSet, select_images
from detkit.errors import UserError
from detkit.evaluation.analysis.compare import Difference, _all_aps, compare_detections
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.voc import evaluate_voc
from tests.reference.random_sets import random_sets


def distinct(found: DetectionSet, seed: int) -> DetectionSet:
    """The same detections without ties in score."""
    return replace(found, scores=np.random.default_rng(seed).permutation(len(found.scores)) / 1000.0)


def repeated(
    truth: AnnotationSet, found: DetectionSet, counts: np.ndarray
) -> tuple[AnnotationSet, DetectionSet]:
    """The data set with image i there counts[i] times."""
    drawn = np.repeat(np.arange(truth.num_images), counts)
    rows = [np.arange(truth.offsets[i], truth.offsets[i + 1]) for i in drawn]
    objects = np.concatenate(rows) if rows else np.zeros(0, int)
    hits = [np.flatnonzero(found.images == i) for i in drawn]
    detections = np.concatenate(hits)
    columns = ("boxes", "labels", "difficult", "crowd", "areas")
    many = replace(
        truth,
        image_files=np.array([f"{i}.jpg" for i in range(len(drawn))]),
        image_ids=np.arange(len(drawn)),
        sizes=truth.sizes[drawn],
        offsets=np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
        ids=np.arange(1, len(objects) + 1),
        sources=truth.sources[drawn],
        **{name: getattr(truth, name)[objects] for name in columns},
    )
    images = np.repeat(np.arange(len(drawn)), [len(h) for h in hits])
    parts = {name: getattr(found, name)[detections] for name in ("labels", "scores", "boxes")}
    return many, replace(found, images=images, **parts)


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_as_good_as_copies_of_images(seed: int) -> None:
    truth, found = random_sets(seed)
    truth = replace(truth, ids=np.arange(1, truth.num_objects + 1))
    found = distinct(found, seed)
    counts = np.random.default_rng(seed).multinomial(
        truth.num_images, [1 / truth.num_images] * truth.num_images
    )
    if not len(found.scores) or not truth.num_objects:
        return
    weights = np.stack([np.ones_like(counts), counts]).astype(np.int32)
    for row, (t, f) in enumerate(((truth, found), repeated(truth, found, counts))):
        coco, voc = evaluate_coco(t, f), evaluate_voc(t, f)
        for rule, expected in (("coco", coco.per_class_ap), ("voc07", voc.ap07), ("voc10", voc.ap10)):
            ours = _all_aps(truth, found, rule, weights)[:, row]
            np.testing.assert_allclose(ours, expected, atol=1e-9, err_msg=f"{rule} {row}")


def with_noise(truth: AnnotationSet, rate: float, seed: int) -> DetectionSet:
    """Detections of a detector that finds a share `rate` of the objects."""
    rng = np.random.default_rng(seed)
    kept = rng.random(truth.num_objects) < rate
    return DetectionSet(
        truth.image_index()[kept], truth.labels[kept], rng.random(kept.sum()), truth.boxes[kept], "coco"
    )


def many_images(seed: int) -> AnnotationSet:
    rng = np.random.default_rng(seed)
    count = 400
    corner = rng.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corner, np.full((count, 2), 40.0)], axis=1)
    return replace(
        random_sets(0)[0],
        classes=("a", "b"),
        category_ids=np.array([1, 2]),
        image_files=np.array([f"{i}.jpg" for i in range(200)]),
        image_ids=np.arange(200),
        sizes=np.full((200, 2), 400, np.int32),
        offsets=np.arange(201) * 2,
        boxes=boxes,
        labels=rng.integers(0, 2, count).astype(np.int32),
        difficult=np.zeros(count, bool),
        crowd=np.zeros(count, bool),
        areas=np.full(count, 1600.0),
        ids=np.arange(1, count + 1),
        sources=np.array(["x"] * 200),
    )


def test_a_real_difference_is_seen_and_luck_is_not() -> None:
    truth = many_images(0)
    weak, strong, twin = with_noise(truth, 0.5, 1), with_noise(truth, 0.8, 2), with_noise(truth, 0.5, 3)
    better = compare_detections(truth, weak, strong, rule="voc10", resamples=300)
    assert not better.total.within_noise
    assert 0.2 < better.total.low < better.total.delta < better.total.high < 0.4
    luck = compare_detections(truth, weak, twin, rule="voc10", resamples=300)
    assert luck.total.within_noise


def test_intervals_cover_the_true_difference() -> None:
    """Both detectors find half of everything, so about 19 of 20 intervals at 95 % hold zero."""
    held = 0
    for seed in range(60):
        truth = many_images(seed)
        pair = with_noise(truth, 0.5, 1000 + seed), with_noise(truth, 0.5, 2000 + seed)
        held += compare_detections(truth, *pair, rule="voc10", resamples=200).total.within_noise
    assert held >= 51


def test_a_class_without_objects_has_no_difference() -> None:
    truth = replace(many_images(0), labels=np.zeros(400, np.int32))
    result = compare_detections(truth, with_noise(truth, 0.5, 1), with_noise(truth, 0.5, 2), resamples=20)
    assert np.isnan(result.per_class[1].delta)
    assert result.total.delta == pytest.approx(result.per_class[0].delta)


def test_the_same_seed_gives_the_same_interval() -> None:
    truth = many_images(0)
    pair = with_noise(truth, 0.5, 1), with_noise(truth, 0.6, 2)
    assert compare_detections(truth, *pair, resamples=30) == compare_detections(truth, *pair, resamples=30)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.1, 0.1, True), (0.0, 0.1, True), (-0.1, 0.0, True), (0.01, 0.1, False), (-0.1, -0.01, False)],
)
def test_an_interval_that_reaches_zero_is_noise(low: float, high: float, expected: bool) -> None:
    assert Difference(0.2, 0.5, low, high).within_noise is expected
    assert Difference(0.25, 0.5, low, high).delta == 0.25


def test_without_images_there_is_nothing_to_compare_on() -> None:
    truth, found = random_sets(0)
    none = select_images(truth, [])
    with pytest.raises(UserError) as caught:
        compare_detections(none, found, found)
    assert str(caught.value) == "the annotations hold no images, so there is nothing to compare on"
