"""Fast R-CNN as a whole: what it promises whatever its parts are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.errors import UserError
from detkit.ops.boxes import pairwise_iou
from detkit.ops.roi_pool import roi_pool, rounded_edges
from detkit.structures import Detections, ImageBatch, Target, TrainBatch

SMALL: dict[str, Any] = {
    "type": "fast_rcnn",
    "backbone": {"type": "vgg", "depth": 11, "width": 0.125},
    "proposals": {"type": "sliding_window"},
    "regions": {"type": "roi_pool", "size": 7},
    "head": {"type": "fc6_fc7", "dropout": 0.0},
}
OBJECTS = ([(10, 12, 50, 44, 0), (70, 40, 118, 90, 1)], [(30, 20, 78, 60, 1), (84, 10, 110, 42, 0)])


def build(**changes: Any) -> FastRCNN:
    parts = {**SMALL, **{part: {**SMALL.get(part, {}), **own} for part, own in changes.items()}}
    model = build_detector(FastRCNNConfig.model_validate(parts), 2, seed=0)
    assert isinstance(model, FastRCNN)
    return model


def around(boxes: Tensor, num: int = 60) -> Tensor:
    """Boxes near the objects, and some anywhere."""
    noise = torch.Generator().manual_seed(1)
    near = boxes.repeat(num // 4, 1) + 6 * torch.randn(len(boxes) * (num // 4), 4, generator=noise)
    corner = torch.rand(num, 2, generator=noise) * torch.tensor([90.0, 60.0])
    anywhere = torch.cat([corner, corner + 8 + 28 * torch.rand(num, 2, generator=noise)], 1)
    found = torch.cat([near, anywhere])
    found = found[((found[:, 2:] - found[:, :2]) > 4).all(1)]
    return torch.minimum(found.clamp_min(0), torch.tensor([128.0, 80, 128, 80]))


def scenes() -> TrainBatch:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 150, (2, 3, 96, 128), generator=noise, dtype=torch.uint8)
    targets = []
    for image, own in enumerate(OBJECTS):
        for x1, y1, x2, y2, label in own:
            pixels[image, :, y1:y2, x1:x2] = 40 if label else 220
        boxes = torch.tensor([box[:4] for box in own], dtype=torch.float32)
        targets.append(Target.of(boxes, torch.tensor([box[4] for box in own]), image))
    sizes = ((96, 128), (80, 128))
    proposals = tuple(around(target.boxes) for target in targets)
    return TrainBatch(ImageBatch(pixels, sizes, sizes, proposals), tuple(targets), seed=3)


def test_overfits_two_images_and_looks_only_where_it_is_told() -> None:
    model, batch = build(), scenes()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    for step in range(120):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 10) * (0.1 if step > 90 else 1)
        losses: dict[str, Tensor] = model(replace(batch, seed=step))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    for detections, target in zip(model.eval().detect(batch.images), batch.targets, strict=True):
        sure = detections.scores > 0.5
        right = detections.labels[sure] == target.labels[:, None]
        iou = pairwise_iou(target.boxes, detections.boxes[sure])
        assert ((iou > 0.5) & right).any(1).all(), f"{detections}"
    nowhere = replace(batch.images, proposals=(torch.zeros(0, 4), torch.zeros(0, 4)))
    assert [len(found) for found in model.detect(nowhere)] == [0, 0]


def test_losses_are_the_papers_sums_over_the_drawn_regions() -> None:
    """Softmax over all drawn regions plus smooth L1 of those with an object, over the same number."""
    model, batch = build(), scenes()
    maps = model.backbone(model.prepare(batch.images))
    assert batch.images.proposals is not None
    wanted = torch.zeros(2)
    for image, target in enumerate(batch.targets):
        own = model.roi_head.sample(batch.images.proposals[image], target, batch.seed)
        logits, deltas = model.roi_head([maps[0][image : image + 1]], [own.boxes])
        total_class, total_box = torch.zeros(()), torch.zeros(())
        for row, label in enumerate(own.labels.tolist()):
            total_class = total_class - F.log_softmax(logits[row], 0)[label]
            if label < 2:
                for value in (deltas[row, label] - own.encoded[row]).abs():
                    total_box = total_box + (0.5 * value**2 if value < 1 else value - 0.5)
        wanted += torch.stack([total_class, total_box]).detach() / len(own.labels) / 2
    losses = model(batch)
    assert set(losses) == {"head_class", "head_box"}
    torch.testing.assert_close(torch.stack(list(losses.values())).detach(), wanted, rtol=1e-4, atol=1e-6)


def test_draws_as_the_paper() -> None:
    """At most 64 regions, 16 with an object; background overlaps an object by [0.1, 0.5)."""
    model, batch = build(), scenes()
    assert batch.images.proposals is not None
    for own, target in zip(batch.images.proposals, batch.targets, strict=True):
        regions = model.roi_head.sample(own, target, batch.seed)
        best = pairwise_iou(regions.boxes, target.boxes).amax(1)
        with_object = regions.labels < 2
        assert len(regions.labels) <= 64
        assert int(with_object.sum()) == 16
        assert (best[with_object] >= 0.5).all()
        assert ((best[~with_object] >= 0.1) & (best[~with_object] < 0.5)).all()
        assert (~with_object).any()


def test_labelled_boxes_train_without_any_proposal() -> None:
    model, batch = build(), scenes()
    nothing = replace(batch, images=replace(batch.images, proposals=(torch.zeros(0, 4),) * 2))
    for (anchors, regions), target in zip(model.training_boxes(nothing), batch.targets, strict=True):
        assert len(anchors) == 0
        assert sorted(regions.tolist()) == sorted(target.boxes.tolist())


def test_an_image_with_neither_proposal_nor_object_has_a_gradient() -> None:
    model, batch = build(), scenes()
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    images = replace(batch.images, proposals=(torch.zeros(0, 4),) * 2)
    losses: dict[str, Tensor] = model(TrainBatch(images, (nothing, nothing)))
    assert all(loss.detach() == 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_detections_are_in_pixels_of_the_file() -> None:
    pooled = {"type": "roi_align", "size": 7}  # RoIPool counts in pixels of the file
    parts = {**SMALL, "regions": pooled, "head": {**SMALL["head"], "score_threshold": 0.0}}
    model, batch = build_detector(FastRCNNConfig.model_validate(parts), 2, seed=0).eval(), scenes()
    usual = model.detect(batch.images)
    larger = model.detect(replace(batch.images, originals=((192, 384), (160, 384))))
    for small, large in zip(usual, larger, strict=True):
        assert len(small) > 0
        torch.testing.assert_close(large.boxes, small.boxes * torch.tensor([3.0, 2, 3, 2]))


@pytest.mark.parametrize("scale", [1.0, 1.6, 2.4])
def test_regions_end_with_the_last_pixel_of_the_file_as_in_the_papers_program(scale: float) -> None:
    """Its boxes are pixels counted from 0, both ends included, times the scale; RoIPool rounds that."""
    chance = np.random.default_rng(0)
    first = chance.integers(0, 40, (300, 2))
    last = first + chance.integers(0, 35, (300, 2))
    wanted = np.floor(np.concatenate([first, last], 1) * np.float32(scale) / 16 + 0.5)
    model, size = build().eval(), (round(80 * scale), round(80 * scale))
    boxes = torch.from_numpy(np.concatenate([first, last + 1], 1) * scale).float()  # as a loader scales them
    images = ImageBatch(torch.zeros(1, 3, *size, dtype=torch.uint8), (size,), ((80, 80),), (boxes,))
    seen: list[Tensor] = []

    def pool(maps: Tensor, edges: Tensor, image: Tensor, by: float) -> Tensor:
        seen.append(rounded_edges(edges, by))
        return roi_pool(maps, edges, image, by, 7)

    model.roi_head.features.pool = pool
    model.roi_head.features.rounding = None  # so that all of them come, in their order
    model.detect(images)
    assert seen[0].tolist() == wanted.tolist()


def test_says_that_it_needs_proposals() -> None:
    with pytest.raises(UserError, match="needs proposals"):
        build()(replace(scenes(), images=replace(scenes().images, proposals=None)))


def head_of(**parts: Any) -> tuple[Any, ...]:
    head = FastRCNNConfig.model_validate({**SMALL, **parts}).head.model_dump()
    return tuple(head[name] for name in ("batch_per_image", "bg_iou", "nms_iou", "fg_fraction"))


def test_defaults_are_the_papers_and_the_pyramids() -> None:
    assert head_of() == (64, (0.1, 0.5), 0.3, 0.25)
    assert head_of(neck={"type": "fpn"}, head={"type": "two_fc"}) == (512, (0.0, 0.5), 0.5, 0.25)
    assert head_of(head={"type": "fc6_fc7", "bg_iou": (0.0, 0.5)})[1] == (0.0, 0.5)


def test_a_region_proposal_network_makes_it_another_detector() -> None:
    with pytest.raises(ValidationError, match="is faster_rcnn"):
        FastRCNNConfig.model_validate({**SMALL, "proposals": {"type": "rpn"}})
    with pytest.raises(ValidationError, match="fc6_fc7 needs"):
        FastRCNNConfig.model_validate({**SMALL, "backbone": {"type": "resnet", "depth": 18}})


def test_several_sizes_of_an_image_are_looked_at_in_test_alone() -> None:
    """Each region is classified on the copy where it is nearest to 224 x 224 pixels."""
    one = build().eval()
    several = build_detector(
        FastRCNNConfig.model_validate({**SMALL, "scales_px": (48, 96)}), 2, seed=0
    ).eval()
    batch = scenes()
    torch.testing.assert_close(several(batch), one(batch))  # training takes images as they come
    given: list[Tensor] = []

    def note(maps: list[Tensor], proposals: object, sizes: object, pixel_px: object) -> list[Detections]:
        given.extend(maps)
        assert pixel_px == (1.0, 1.0)
        return [Detections.empty()] * 2

    several.roi_head.detect = note  # type: ignore[method-assign]
    several.detect(batch.images)
    pixels = one.prepare(batch.images)
    small = F.interpolate(pixels, (48, 64), mode="bilinear", antialias=True)
    maps = [*one.backbone(pixels), *one.backbone(small)]
    torch.testing.assert_close(given, maps)
    little = torch.tensor([[0.0, 0, 128, 96], [10, 10, 60, 60]])
    nothing = torch.zeros(0, 4)
    for boxes, used, factor in ((little, maps[0], 1.0), (8 * little, maps[1], 0.5)):
        wanted = one.roi_head([used], [boxes * factor, nothing])
        torch.testing.assert_close(several.roi_head(maps, [boxes, nothing]), wanted)


def test_scales_must_fit() -> None:
    with pytest.raises(ValidationError, match="scales_px must rise"):
        FastRCNNConfig.model_validate({**SMALL, "scales_px": (96, 48)})
    with pytest.raises(ValidationError, match="needs neck: none"):
        FastRCNNConfig.model_validate(
            {**SMALL, "neck": {"type": "fpn"}, "head": {"type": "two_fc"}, "scales_px": (9,)}
        )


def test_boxes_of_equal_cells_are_judged_once_and_reported_each() -> None:
    model, batch = build(head={"score_threshold": 0.0, "nms_iou": 1.0, "detections_per_image": 999}), scenes()
    boxes = batch.images.proposals[0][:10]
    twice = torch.cat([boxes, boxes, boxes + 0.001])
    images = ImageBatch(batch.images.pixels[:1], ((96, 128),), ((96, 128),), (twice,))
    evaluated: list[int] = []
    model.roi_head.head.register_forward_hook(lambda module, given, out: evaluated.append(len(out)))
    found = model.eval().detect(images)[0]
    assert evaluated[0] <= 15
    alone = model.detect(replace(images, proposals=(boxes,)))[0]
    assert len(found) >= 2 * len(alone)


def test_boxes_that_train_for_objects_lie_on_objects() -> None:
    model, batch = build(), scenes()
    for (anchors, regions), target in zip(model.training_boxes(batch), batch.targets, strict=True):
        assert len(anchors) == 0
        assert len(regions) == 16
        assert (pairwise_iou(regions, target.boxes).amax(1) >= 0.5).all()
