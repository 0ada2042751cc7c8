"""Every family of backbones, and a cascade, learns two small images by heart; no batch breaks the losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detkit.config.schema import DETECTORS
from detkit.detectors.builder import build_detector
from detkit.ops.boxes import pairwise_iou
from detkit.structures import ImageBatch, Target, TrainBatch

HEIGHT, WIDTH = 96, 128
NUM_CLASSES = 2
ONE_MAP = {
    "type": "rpn",
    "channels": 64,
    "anchors": {"sizes_px": ((32.0, 48.0),)},
    "min_size_px": 4.0,
    "post_nms_train": 200,
}
PYRAMID = {
    "type": "rpn",
    "anchors": {"sizes_px": ((16.0,), (32.0,), (48.0,), (96.0,), (128.0,))},
    "post_nms_train": 200,
}
FC = {"type": "fc6_fc7", "dropout": 0.0}
FAMILIES: dict[str, dict[str, Any]] = {
    "alexnet": {
        "backbone": {"type": "alexnet", "width": 0.125},
        "proposals": ONE_MAP,
        "regions": {"type": "roi_pool", "size": 6},
        "head": FC,
    },
    "vgg": {
        "backbone": {"type": "vgg", "depth": 11, "width": 0.125},
        "proposals": ONE_MAP,
        "regions": {"type": "roi_pool", "size": 7},
        "head": FC,
    },
    "vgg_bn": {
        "backbone": {"type": "vgg", "depth": 11, "width": 0.125, "batch_norm": True, "norm": "trainable"},
        "proposals": ONE_MAP,
        "regions": {"type": "roi_pool", "size": 7},
        "head": FC,
    },
    "resnet_c4": {
        "backbone": {"type": "resnet", "depth": 18, "width": 0.25},
        "proposals": ONE_MAP,
        "regions": {"type": "roi_align", "size": 7},
        "head": {"type": "layer4"},
    },
    "resnet_fpn": {
        "backbone": {"type": "resnet", "depth": 18, "width": 0.25},
        "neck": {"type": "fpn", "channels": 32},
        "proposals": PYRAMID,
        "regions": {"type": "roi_align", "size": 7},
        "head": {"type": "two_fc", "channels": 64, "class_agnostic": True},
    },
    "vgg_fpn": {
        "backbone": {"type": "vgg", "depth": 11, "width": 0.125},
        "neck": {"type": "fpn", "channels": 32, "norm": "trainable"},
        "proposals": PYRAMID,
        "regions": {"type": "roi_align", "size": 7},
        "head": {"type": "conv_fc", "num_convs": 1, "conv_channels": 32, "channels": 64},
    },
    "cascade_vgg": {
        "type": "cascade_rcnn",
        "backbone": {"type": "vgg", "depth": 11, "width": 0.125},
        "proposals": ONE_MAP,
        "regions": {"type": "roi_pool", "size": 7},
        "head": FC,
    },
    "cascade_fpn": {
        "type": "cascade_rcnn",
        "backbone": {"type": "resnet", "depth": 18, "width": 0.25},
        "neck": {"type": "fpn", "channels": 32},
        "proposals": PYRAMID,
        "regions": {"type": "roi_align", "size": 7},
        "head": {"type": "two_fc", "channels": 64},
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep threads from waiting for one another: the work is too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LONG = ("cascade_fpn", "cascade_vgg", "resnet_c4", "vgg", "vgg_bn", "vgg_fpn")


def build(family: str) -> nn.Module:
    parts = {"type": "faster_rcnn", **FAMILIES[family]}
    parts["head"] = {**parts["head"], "batch_per_image": 32}
    return build_detector(DETECTORS[parts["type"]].model_validate(parts), NUM_CLASSES, seed=0)


def scenes() -> TrainBatch:
    """Two images of bright and dark rectangles on noise; the second is smaller and padded."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 150, (2, 3, HEIGHT, WIDTH), generator=noise, dtype=torch.uint8)
    objects = [[(10, 12, 50, 44, 0), (70, 40, 118, 90, 1)], [(30, 20, 78, 60, 1), (84, 10, 110, 42, 0)]]
    targets = []
    for image, own in enumerate(objects):
        for x1, y1, x2, y2, label in own:
            pixels[image, :, y1:y2, x1:x2] = 40 if label else 220
        boxes = torch.tensor([box[:4] for box in own], dtype=torch.float32)
        targets.append(Target.of(boxes, torch.tensor([box[4] for box in own]), image))
    pixels[1, :, 80:] = 0
    sizes = ((HEIGHT, WIDTH), (80, WIDTH))
    return TrainBatch(ImageBatch(pixels, sizes, sizes), tuple(targets))


def losses_of(model: nn.Module, batch: TrainBatch) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = model(batch)
    assert set(losses) >= {"rpn_objectness", "rpn_box", "head_class", "head_box"}
    assert all(loss.shape == () and torch.isfinite(loss) for loss in losses.values())
    return losses


def empty(batch: TrainBatch) -> TrainBatch:
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return TrainBatch(batch.images, (nothing, nothing))


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in FAMILIES]
)
def test_overfits_two_images(family: str) -> None:
    model, batch = build(family), scenes()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 10) * (0.1 if step > 150 else 1)
        losses = losses_of(model, TrainBatch(batch.images, batch.targets, seed=step))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    found = model.eval().detect(batch.images)
    for detections, target in zip(found, batch.targets, strict=True):
        sure = detections.scores > 0.5
        right = detections.labels[sure] == target.labels[:, None]
        iou = pairwise_iou(target.boxes, detections.boxes[sure])
        assert ((iou > 0.5) & right).any(1).all(), f"{detections}"


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_weight(family: str) -> None:
    model = build(family)
    losses = losses_of(model, scenes())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("family", FAMILIES)
def test_images_without_objects(family: str) -> None:
    model = build(family)
    losses = losses_of(model, empty(scenes()))
    assert all(loss == 0 for name, loss in losses.items() if "box" in name)
    for name, loss in losses.items():
        loss.backward(retain_graph=True)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters()), name
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("family", ["resnet_c4", "resnet_fpn", "vgg", "cascade_vgg", "cascade_fpn"])
def test_no_region_at_all(family: str) -> None:
    """Proposals too small to keep and no object to add: the head gets nothing and still has a gradient."""
    model = build(family)
    model.rpn.min_size_px = 1e6
    losses = losses_of(model, empty(scenes()))
    assert all(loss == 0 for name, loss in losses.items() if "head" in name)
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert [len(found) for found in model.eval().detect(scenes().images)] == [0, 0]
