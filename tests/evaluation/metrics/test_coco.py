from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.coco import read_coco
from detkit.annotations.coordinates import corners_to_voc, xywh_to_corners
from detkit.annotations.writers import write_coco
from detkit.errors import UserError
from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.coco import IOU_THRESHOLDS, evaluate_coco
from detkit.evaluation.metrics.curves import HUNDRED_AND_ONE_RECALLS
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
    np.testing.assert_array_equal(HUNDRED_AND_ONE_RECALLS, official.params.recThrs)


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


@pytest.mark.parametrize("seed", range(10))
def test_other_limits_of_detections(seed: int) -> None:
    truth, found = random_sets(seed)
    ours = evaluate_coco(truth, found, max_detections=(300, 2, 7))
    official = official_coco(truth, found, (2, 7, 300))
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(ours, name), official.eval[name])
    assert {"AR2", "AR7", "AR300"} <= set(ours.stats)


def test_repeated_annotation_ids_are_refused_because_pycocotools_mixes_their_objects_up(
    tmp_path: Path,
) -> None:
    truth, found = random_sets(3)
    mixed = replace(truth, ids=truth.ids % 5 + 1)
    assert not np.array_equal(official_coco(mixed, found).stats, official_coco(truth, found).stats)
    file = tmp_path / "annotations" / "instances_val.json"
    write_coco(tmp_path, "val", mixed)
    with pytest.raises(UserError, match=r"annotations: id [1-5] is used more than once; ids must differ"):
        read_coco(tmp_path, file)
    write_coco(tmp_path, "val", truth)
    read = read_coco(tmp_path, file)
    ours = evaluate_coco(read, found).stats
    stats = np.array([ours[name] for name in STATS])
    expected = official_coco(truth, found).stats
    np.testing.assert_array_equal(np.where(np.isnan(stats), -1.0, stats), expected)


def test_voc_annotations_are_scored_in_coco_boxes() -> None:
    truth, found = two_images()
    voc = [
        replace(part, boxes=corners_to_voc(xywh_to_corners(part.boxes)), box_format="voc")
        for part in (truth, found)
    ]
    np.testing.assert_array_equal(evaluate_coco(*voc).precision, evaluate_coco(truth, found).precision)


def test_per_class_numbers_are_in_the_order_of_the_annotations() -> None:
    truth, found = two_images()
    turned = replace(truth, category_ids=np.array([9, 4]))
    np.testing.assert_array_equal(
        evaluate_coco(turned, found).per_class_ap, evaluate_coco(truth, found).per_class_ap
    )
    assert evaluate_coco(turned, found).class_order.tolist() == [1, 0]


def test_what_cannot_be_measured_is_nan() -> None:
    truth, found = two_images()
    truth = replace(truth, classes=("cat", "dog", "unicorn"), category_ids=np.array([1, 2, 3]))
    result = evaluate_coco(truth, found)
    assert np.isnan(result.per_class_ap[2])
    assert np.isnan(result.stats["APl"])
    assert result.num_objects[:, 0].tolist() == [1, 2, 0]


def test_large_scores_fall_in_the_same_order() -> None:
    """More than a few dozen detections of a class take the radix sort instead of insertion."""
    truth, found = random_sets(7)
    many = np.random.default_rng(0).integers(0, len(found.scores), 3000)
    scores = np.random.default_rng(1).normal(size=3000) * 10.0 ** np.random.default_rng(2).integers(
        -8, 8, 3000
    )
    scores[::7] = np.where(np.arange(len(scores[::7])) % 2, 0.0, -0.0)
    found = replace(
        found, images=found.images[many], labels=found.labels[many], boxes=found.boxes[many], scores=scores
    )
    ours, official = evaluate_coco(truth, found), official_coco(truth, found)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(ours, name), official.eval[name])
