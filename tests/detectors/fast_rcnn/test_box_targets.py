from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.data.config import DataConfig
from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.box_targets import TargetMoments, _mirrored, target_moments
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.models.roi.box_heads import BoxPredictor
from detkit.models.roi.roi_head import RoIHead
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Target


def head() -> RoIHead:
    spec = {
        "type": "fast_rcnn",
        "backbone": {"type": "vgg", "depth": 11, "width": 0.125},
        "proposals": {"type": "sliding_window"},
        "regions": {"type": "roi_pool"},
        "head": {"type": "fc6_fc7"},
    }
    found = build_detector(FastRCNNConfig.model_validate(spec), 3, seed=0).roi_head
    assert isinstance(found, RoIHead)
    return found


def images() -> list[tuple[Tensor, Target]]:
    noise = torch.Generator().manual_seed(0)
    made = []
    for number in range(4):
        corner = 60 * torch.rand(3, 2, generator=noise)
        objects = torch.cat([corner, corner + 20 + 40 * torch.rand(3, 2, generator=noise)], 1)
        near = objects.repeat(30, 1) + 5 * torch.randn(90, 4, generator=noise)
        target = Target.of(objects, torch.tensor([0, 1, number % 2]), number)
        difficult = torch.tensor([False, False, number == 3])
        made.append((near, replace(target, difficult=difficult)))
    return made


def mirrored(boxes: Tensor) -> Tensor:
    return torch.stack([200 - boxes[:, 2], boxes[:, 1], 200 - boxes[:, 0], boxes[:, 3]], 1)


def slow_moments(
    chosen: list[tuple[Tensor, Target]], rows: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Mean and deviation over a dataset that holds every image and its mirror image, region by region."""
    values: list[list[list[float]]] = [[] for _ in range(rows)]
    doubled = chosen + [(mirrored(near), replace(t, boxes=mirrored(t.boxes))) for near, t in chosen]
    for near, target in doubled:
        easy = target.boxes[~target.difficult]
        labels = target.labels[~target.difficult]
        for box in torch.cat([near, easy]):
            iou = pairwise_iou(box[None], easy)[0]
            if iou.max() < 0.5:
                continue
            best = int(iou.argmax())
            x1, y1, x2, y2 = box.double().tolist()
            a1, b1, a2, b2 = easy[best].double().tolist()
            w, h = x2 - x1, y2 - y1
            deltas = [10 * ((a1 + a2) - (x1 + x2)) / 2 / w, 10 * ((b1 + b2) - (y1 + y2)) / 2 / h]
            deltas += [5 * np.log((a2 - a1) / w), 5 * np.log((b2 - b1) / h)]
            values[int(labels[best]) if rows > 1 else 0].append(deltas)
    everything = [deltas for own in values for deltas in own]  # for a class without a region
    arrays = [np.array(own or everything) for own in values]
    return [own.mean(0).tolist() for own in arrays], [own.std(0).tolist() for own in arrays]


@pytest.mark.parametrize("rows", [3, 2, 1])
def test_equal_those_of_the_doubled_dataset(rows: int) -> None:
    mean, std = target_moments(images(), head(), rows).mean_and_std(0.5, 0.0)
    slow_mean, slow_std = slow_moments(images(), rows)
    torch.testing.assert_close(mean, torch.tensor(slow_mean), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(std, torch.tensor(slow_std), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("agnostic", [False, True])
def test_units_keep_answers_or_weights_and_fold_away(agnostic: bool) -> None:
    torch.manual_seed(0)
    predictor, vectors = BoxPredictor(6, 3, class_agnostic=agnostic), torch.randn(5, 6)
    before = predictor(vectors)[1]
    shape = predictor.delta_mean.shape
    mean, std = torch.randn(shape), 0.1 + torch.rand(shape)
    predictor.measure_deltas_in(mean, std, keep_answers=True)
    torch.testing.assert_close(predictor(vectors)[1], before)
    predictor.measure_deltas_in(torch.zeros(shape), torch.ones(shape), keep_answers=True)
    predictor.measure_deltas_in(mean, std, keep_answers=False)
    inside = predictor(vectors)[1]
    torch.testing.assert_close(inside, before * std + mean)
    plain = BoxPredictor(6, 3, class_agnostic=agnostic)
    plain.load_state_dict(predictor.state_dict() | predictor.folded())
    torch.testing.assert_close(plain(vectors)[1], inside)


def test_the_box_loss_is_in_deviations() -> None:
    """As if targets had been normalised: smooth L1 of (prediction - (target - mean) / deviation)."""
    roi_head, (near, target) = head(), images()[0]
    torch.manual_seed(0)
    maps = [torch.randn(1, 64, 8, 8)]
    mean, std = torch.randn(3, 4), 0.2 + torch.rand(3, 4)
    predictor = roi_head.predictor
    assert isinstance(predictor, BoxPredictor)
    predictor.measure_deltas_in(mean, std, keep_answers=False)
    roi_head.eval()
    loss = roi_head.losses(maps, [near], [target], 0)[1]
    drawn = roi_head.sample(near, target, 0)
    vectors = roi_head.head(roi_head.features(maps, [drawn.boxes]))
    raw = predictor.bbox_pred(vectors).unflatten(1, (-1, 4))
    total = torch.zeros(())
    for row, encoded in enumerate(drawn.encoded):
        label = int(drawn.labels[row])
        apart = (raw[row, label] - (encoded - mean[label]) / std[label]).abs()
        total = total + torch.where(apart < 1, apart**2 / 2, apart - 0.5).sum()
    torch.testing.assert_close(loss, total / len(drawn.labels), rtol=1e-4, atol=1e-5)


def test_a_class_with_few_regions_has_the_numbers_of_all() -> None:
    torch.manual_seed(0)
    moments, many, few = TargetMoments(3), torch.randn(500, 4), 0.001 * torch.randn(5, 4)
    moments.add(torch.zeros(500, dtype=torch.int64), many)
    moments.add(torch.ones(5, dtype=torch.int64), few)
    mean, std = moments.mean_and_std(0.0, 0.0)
    torch.testing.assert_close(std[0], many.std(0, correction=0))
    for row in (1, 2):
        torch.testing.assert_close(mean[row], torch.cat([many, few]).mean(0))
        torch.testing.assert_close(std[row], torch.cat([many, few]).std(0, correction=0))
    assert TargetMoments(2).mean_and_std(0.5, 0.0)[1].eq(1).all()


@pytest.mark.parametrize(
    ("flips", "often"),
    [
        # 0.25 are mirrored once; then half of whatever came before; then 0.5 * 0.25 + 0.5 * 0.75.
        ([("horizontal", 0.25), ("vertical", 0.5), ("horizontal", 0.5), ("horizontal", 0.75)], (0.5, 0.5)),
        ([("horizontal", 0.25), ("horizontal", 0.75)], (0.25 * 0.25 + 0.75 * 0.75, 0.0)),
    ],
)
def test_flips_of_one_direction_follow_each_other(
    flips: list[tuple[str, float]], often: tuple[float, float]
) -> None:
    augment = tuple({"type": "flip", "direction": way, "probability": p} for way, p in flips)
    train = {"type": "synthetic", "num_images": 1, "augment": augment}
    assert _mirrored(DataConfig.model_validate({"classes": ("disc",), "train": train})) == often
