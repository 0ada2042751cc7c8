"""Views of an image lead back to its pixels, and what they show is fused as in the paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from detkit.data.transforms.resize import Resize, Scale, keep_size, scaled_rule
from detkit.errors import UserError
from detkit.inference.predictor import samples_of
from detkit.inference.test_time_augmentation import Augmentation, weighted_boxes_fusion
from detkit.proposals.proposals import Proposals
from detkit.structures import Detections
from tests.inference.bright import BrightDetector, picture, predictor

SCALES = (0.5, 1.0, 2.0)


def augmented(**changes: Any) -> Any:
    settings = {"flip": True, "scales": SCALES, "iou": 0.55, "max_detections": 100, **changes}
    own = predictor(short_px=40)
    return replace(own, augmentation=Augmentation.of(own.resize, **settings))


def slow_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def slow_fusion(rows: list[tuple[list[float], float, int]], views: int, iou: float) -> list[Any]:
    """Steps 1 to 7 of the paper, every fused box computed anew from all of its members."""
    clusters: list[list[tuple[list[float], float, int]]] = []
    fused: list[tuple[list[float], float, int]] = []
    for box, score, label in sorted(rows, key=lambda row: -row[1]):
        overlaps = [slow_iou(box, other) if mine == label else 0.0 for other, _, mine in fused]
        place = int(np.argmax(overlaps)) if overlaps and max(overlaps) > iou else len(clusters)
        if place == len(clusters):
            clusters.append([])
            fused.append((box, score, label))
        clusters[place].append((box, score, label))
        total = sum(score for _, score, _ in clusters[place])
        mean = [sum(s * b[i] for b, s, _ in clusters[place]) / total for i in range(4)]
        fused[place] = mean, total / len(clusters[place]), label
    lowered = [
        (box, score * min(len(members), views) / views, label)
        for (box, score, label), members in zip(fused, clusters, strict=True)
    ]
    return sorted(lowered, key=lambda row: -row[1])


@pytest.mark.parametrize("seed", range(4))
def test_fusion_is_the_papers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = []
    for _ in range(3):
        corners = np.repeat(rng.uniform(0, 60, (5, 2)), 4, axis=0) + rng.uniform(-4, 4, (20, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 30, (20, 2))], axis=1)
        scores, labels = rng.uniform(0.01, 1, 20), rng.integers(0, 2, 20)
        order = np.argsort(-scores)
        parts = boxes[order].astype(np.float32), scores[order].astype(np.float32), labels[order]
        views.append(Detections(*map(torch.from_numpy, parts)))
    rows = [
        (box.tolist(), float(score), int(label))
        for view in views
        for box, score, label in zip(view.boxes, view.scores, view.labels, strict=True)
    ]
    wanted, found = slow_fusion(rows, 3, 0.55), weighted_boxes_fusion(views, 0.55, 100)
    assert 5 < len(wanted) < 0.6 * len(rows)
    assert found.labels.tolist() == [label for _, _, label in wanted]
    np.testing.assert_allclose(found.scores, [score for _, score, _ in wanted], atol=1e-5)
    np.testing.assert_allclose(found.boxes, [box for box, _, _ in wanted], atol=1e-3)
    assert len(weighted_boxes_fusion(views, 0.55, 3)) == 3


def test_nothing_and_scores_of_zero_are_fused() -> None:
    empty = Detections.empty()
    assert len(weighted_boxes_fusion([empty, empty], 0.5, 100)) == 0
    zero = Detections(torch.tensor([[0.0, 0, 4, 4]]), torch.zeros(1), torch.tensor([2]))
    found = weighted_boxes_fusion([zero, empty, zero], 0.5, 100)
    torch.testing.assert_close(found.boxes, zero.boxes)
    assert float(found.scores) < 1e-30
    assert found.labels.tolist() == [2]


def test_margins_are_those_of_the_scores_and_parts_those_of_the_best_box() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    one, other = (
        Detections(boxes + i, torch.tensor([score]), torch.tensor([0]), torch.zeros(1), boxes[None] + 100 * i)
        for i, score in ((0, 0.4), (1, 0.8))
    )
    found = weighted_boxes_fusion([one, other], 0.5, 100)
    assert found.margins is not None
    assert found.parts is not None
    torch.testing.assert_close(found.margins.sigmoid(), found.scores)
    assert found.parts[0, 0].tolist() == [100, 100, 110, 110]


@pytest.mark.parametrize("tile_px", [None, 48])
def test_boxes_of_every_view_come_back_to_the_same_pixels(tile_px: int | None) -> None:
    pixels = picture(80, 120, (8, 16, 40, 48, 0, 255), (96, 8, 112, 72, 2, 204))
    own = augmented()
    once = predictor().predict(pixels, tile_px=tile_px)
    found = own.predict(pixels, tile_px=tile_px, augment=True)
    assert found.names == once.names == ("red", "blue")
    # The rectangles lie on whole pixels at half the size and at twice it.
    np.testing.assert_allclose(found.boxes, [[8, 16, 40, 48], [96, 8, 112, 72]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [1.0, 0.8], atol=1e-6)
    assert isinstance(own.model, BrightDetector)
    if tile_px is None:
        assert own.model.batches == [(1, 3, 20, 30)] * 2 + [(1, 3, 40, 60)] * 2 + [(1, 3, 80, 120)] * 2


def test_an_object_that_one_view_of_two_shows_has_half_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    own = augmented(scales=(1.0,))
    detect, calls = own.model.detect, iter((True, False))
    monkeypatch.setattr(
        own.model, "detect", lambda images: detect(images) if next(calls) else [Detections.empty()]
    )
    found = own.predict(picture(40, 40, (4, 4, 20, 30, 1, 255)), threshold=0.1, augment=True)
    np.testing.assert_allclose(found.scores, [0.5])


def test_images_of_a_stream_keep_their_own_views() -> None:
    pixels = [picture(40 + 8 * i, 64, (8 * i, 8, 8 * i + 16, 24, i % 3, 255)) for i in range(4)]
    found = augmented().predict([*pixels, *pixels], augment=True)
    assert [one.names for one in found] == 2 * [("red",), ("green",), ("blue",), ("red",)]
    for number, one in enumerate(found):
        np.testing.assert_allclose(one.boxes[0, :2], [8 * (number % 4), 8], atol=1.5)


def test_proposals_are_made_once_and_travel_with_each_view() -> None:
    made: list[tuple[int, ...]] = []

    def proposer(pixels: Any) -> Proposals:
        made.append(pixels.shape)
        return Proposals(np.array([[0, 0, 10, 20]], dtype=np.float32), np.ones(1, dtype=np.float32))

    views = augmented().augmentation.views
    samples = samples_of(picture(40, 80), views, proposer)
    assert made == [(40, 80, 3)]
    boxes = [sample.target.proposals.tolist() for sample in samples if sample.target.proposals is not None]
    assert boxes[:4] == [[[0, 0, 5, 10]], [[35, 0, 40, 10]], [[0, 0, 10, 20]], [[70, 0, 80, 20]]]


def test_sizes_follow_the_rule_of_the_images() -> None:
    assert scaled_rule(Resize((480, 600), 1000), 1.5) == Resize((720, 900), 1500)
    assert scaled_rule(Resize((4,), 1000), 0.01) == Resize((1,), 10)
    assert scaled_rule(keep_size, 1.0) is keep_size
    assert scaled_rule(keep_size, 0.5) == Scale(0.5)
    (sample,) = samples_of(picture(30, 50), [Scale(0.5)])
    assert sample.image.shape == (3, 15, 25)


def test_a_classifier_has_no_such_views() -> None:
    with pytest.raises(UserError, match=r"augment: a classifier has its own views, detector\.views"):
        predictor().predict(picture(40, 40), augment=True)


def test_left_points_of_a_mirrored_view_are_right_ones() -> None:
    whole = Augmentation.of(
        keep_size, flip=True, scales=(1.0,), iou=0.5, max_detections=9, other_sides=(1, 0, 2)
    )
    box, points = torch.tensor([[10.0, 20, 30, 40]]), torch.tensor([[[12.0, 22], [28, 23], [20, 35]]])
    seen = Detections(box, torch.tensor([0.5]), torch.tensor([0]), keypoints=points)
    mirrored = replace(
        seen,
        boxes=torch.tensor([[70.0, 20, 90, 40]]),
        scores=torch.tensor([0.8]),
        keypoints=torch.tensor([[[72.0, 23], [88, 22], [80, 35]]]),  # what is left there is right here
    )
    found = whole.merged([seen, mirrored], width=100)
    torch.testing.assert_close(found.boxes, box)
    torch.testing.assert_close(found.keypoints, points)
