"""The whole model: its windows, its losses, what it detects, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.capabilities import ComputesMaps, HasClassOutputs, MatchesObjects, ShowsTrainingBoxes
from detkit.detectors.builder import build_detector
from detkit.detectors.overfeat.config import OverFeatConfig
from detkit.detectors.overfeat.merging import merge_boxes
from detkit.detectors.overfeat.model import OverFeat
from detkit.models.backbones.alexnet.network import AlexNet
from detkit.models.backbones.families import FAMILIES
from detkit.ops.boxes import pairwise_iou
from detkit.structures import ImageBatch, Target, TrainBatch

K = 2
RESNET = {"type": "resnet", "depth": 18, "width": 0.125, "norm": "frozen"}


def config(**parts: dict[str, Any]) -> OverFeatConfig:
    given: dict[str, dict[str, Any]] = {
        "backbone": RESNET,
        "proposals": {"scales": (0.75, 1.0, 1.5)},
        "regions": {"size": 2, "stride": 2, "cells": 2},
        "head": {"channels": 32, "box_channels": (32, 16), "dropout": 0.0},
    }
    types = {"proposals": "dense_windows", "regions": "offset_pool", "head": "dense_softmax"}
    for name, kind in {"backbone": "resnet", **types}.items():
        given[name] = {"type": kind, **given[name], **parts.get(name, {})}
    return OverFeatConfig.model_validate({"type": "overfeat", **given})


def build(**parts: dict[str, Any]) -> OverFeat:
    model = build_detector(config(**parts), K, seed=0)
    assert isinstance(model, OverFeat)
    return model


def scenes() -> TrainBatch:
    """Two images of bright and dark rectangles on noise; the second is smaller and padded."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 150, (2, 3, 96, 128), generator=noise, dtype=torch.uint8)
    objects = [[(10, 12, 60, 54, 0), (64, 30, 120, 90, 1)], [(20, 16, 78, 70, 1), (82, 10, 126, 52, 0)]]
    targets = []
    for image, own in enumerate(objects):
        for x1, y1, x2, y2, label in own:
            pixels[image, :, y1:y2, x1:x2] = 40 if label else 220
        boxes = torch.tensor([box[:4] for box in own], dtype=torch.float32)
        targets.append(Target.of(boxes, torch.tensor([box[4] for box in own]), image))
    pixels[1, :, 80:] = 0
    sizes = ((96, 128), (80, 128))
    return TrainBatch(ImageBatch(pixels, sizes, sizes), tuple(targets))


def empty(batch: TrainBatch) -> TrainBatch:
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return TrainBatch(batch.images, (nothing, nothing))


def test_windows_begin_at_each_cell_of_each_size() -> None:
    model = build(proposals={"scales": (0.5, 1.0)})
    model.pyramid.cell_offset = 0.5
    windows = model.windows((96, 128))
    # 48 x 64 pixels are 3 x 4 cells, less than a window high; 96 x 128 are 6 x 8 cells.
    assert windows.shape == (1 * 1 + 3 * 5, 4)
    assert windows[0].tolist() == [0, 0, 128, 128]
    assert windows[1 + 1 * 5 + 2].tolist() == [32, 16, 96, 80]
    # A ResNet's first cell sees the pixels around the first one.
    moved = build(proposals={"scales": (0.5, 1.0)}).windows((96, 128))
    torch.testing.assert_close(moved[1:], windows[1:] - 7.5)
    coarse = build(proposals={"scales": (1.0,)}, regions={"fine_stride": False})
    coarse.pyramid.cell_offset = 0.5
    assert coarse.windows((96, 128))[:, :2].tolist() == [[x, y] for y in (0, 32) for x in (0, 32, 64)]


@pytest.mark.parametrize("per_class", [False, True])
def test_detections_are_the_merged_boxes_of_all_windows(per_class: bool) -> None:
    model = build(head={"per_class_boxes": per_class, "score_threshold": 0.34, "merge_below": 0.6}).eval()
    for layers in (model.classifier, model.regressor):
        nn.init.normal_(layers.output.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    images = scenes().images
    with torch.no_grad():
        pooled = model.pooled_maps(images)
        all_logits, all_edges = (
            [layers.everywhere(level, 2) for level in pooled]
            for layers in (model.classifier, model.regressor)
        )
        found = model.detect(images)
    for number, size in enumerate(images.sizes):
        boxes: dict[int, list[list[float]]] = {0: [], 1: []}
        scores: dict[int, list[float]] = {0: [], 1: []}
        windows = iter(model.windows(size).tolist())
        for factor, logits, edges in zip((0.75, 1.0, 1.5), all_logits, all_edges, strict=True):
            rows, columns = (-(-round(side * factor) // 16) - 3 for side in size)
            for y in range(max(1, rows)):
                for x in range(max(1, columns)):
                    x1, y1, x2, y2 = next(windows)
                    probabilities = logits[number, y, x].softmax(0)
                    for label in range(K):
                        if probabilities[label] < 0.34:
                            continue
                        place = 4 * label if per_class else 0
                        own = edges[number, y, x, place : place + 4].tolist()
                        width, height = x2 - x1, y2 - y1
                        moved = [x1 + own[0] * width, y1 + own[1] * height]
                        moved += [x2 + own[2] * width, y2 + own[3] * height]
                        limits = (size[1], size[0], size[1], size[0])
                        moved = [min(max(at, 0), end) for at, end in zip(moved, limits, strict=True)]
                        if moved[2] > moved[0] and moved[3] > moved[1]:
                            boxes[label].append(moved)
                            scores[label].append(float(probabilities[label]))
        assert next(windows, None) is None
        for label in range(K):
            merged, sums = merge_boxes(
                torch.tensor(boxes[label]).view(-1, 4).numpy(), torch.tensor(scores[label]).numpy(), 0.6
            )
            own = found[number].at(found[number].labels == label)
            order = (-sums).argsort()
            torch.testing.assert_close(own.scores, torch.tensor(sums[order] / (1 + sums[order])).float())
            torch.testing.assert_close(own.boxes, torch.tensor(merged[order]).float(), rtol=1e-3, atol=1e-2)
        assert len(found[number]) > 2
        assert (found[number].scores.diff() <= 0).all()


def test_results_are_in_pixels_of_the_file_above_the_threshold_and_not_too_many() -> None:
    images = scenes().images
    model = build(head={"score_threshold": 0.0, "detections_per_image": 4, "merge_below": 0.1}).eval()
    twice = replace(images, originals=tuple((2 * h, 2 * w) for h, w in images.sizes))
    for own, large in zip(model.detect(images), model.detect(twice), strict=True):
        assert len(own) == 4
        torch.testing.assert_close(own.boxes * 2, large.boxes)
    model.merging = replace(model.merging, per_class=1, below=0.0)
    assert [sorted(own.labels.tolist()) for own in model.detect(images)] == [[0, 1]] * 2
    model.merging = replace(model.merging, score_threshold=0.9)
    assert [len(own) for own in model.detect(images)] == [0, 0]


@pytest.mark.parametrize("negatives", ["hardest", "random"])
def test_losses_are_those_of_the_windows_that_train(negatives: str) -> None:
    model, batch = (
        build(head={"negatives": negatives, "batch_per_image": 12, "box_loss_weight": 3.0}),
        scenes(),
    )
    losses = model(batch)
    assert set(losses) == {"class", "box"}
    pooled = model.pooled_maps(batch.images)
    logits = [layers.everywhere(level, 2) for level in pooled for layers in (model.classifier,)]
    edges = [model.regressor.everywhere(level, 2) for level in pooled]
    of_classes, of_boxes = [], []
    for number, (target, size) in enumerate(zip(batch.targets, batch.images.sizes, strict=True)):
        windows = model.windows(size)
        own_logits, own_edges = (model._of_image(maps, number, size) for maps in (logits, edges))
        positives, negative_rows, objects = model._sample(pooled, batch)[number]
        assert 0 < len(positives) <= 6
        assert len(positives) + len(negative_rows) == 12
        labels = [*target.labels[objects].tolist(), *[K] * len(negative_rows)]
        rows = torch.cat([positives, negative_rows])
        of_classes.append(F.cross_entropy(own_logits[rows], torch.tensor(labels)))
        wrong_by = []
        for row, number_of_object in zip(positives.tolist(), objects.tolist(), strict=True):
            width, height = windows[row, 2:] - windows[row, :2]
            sides = torch.stack([width, height, width, height])
            box = windows[row] + own_edges[row] * sides
            wrong_by.append((((box - target.boxes[number_of_object]) / sides) ** 2).sum())
        of_boxes.append(torch.stack(wrong_by).mean())
    torch.testing.assert_close(losses["class"], torch.stack(of_classes).mean())
    torch.testing.assert_close(losses["box"], 3 * torch.stack(of_boxes).mean())


@pytest.mark.parametrize("both", [False, True])
def test_boxes_train_the_backbone_only_if_they_shall(both: bool) -> None:
    model = build(head={"boxes_train_backbone": both})
    model(scenes())["box"].backward()
    of_backbone = [p.grad for p in model.pyramid.backbone.parameters() if p.requires_grad]
    assert all((grad is not None) == both for grad in of_backbone)
    assert all(p.grad is not None for p in model.regressor.parameters())


def test_what_an_image_contributes_does_not_depend_on_the_others() -> None:
    model, batch = build().eval(), scenes()
    # Of one size: what a network sees beyond a smaller image, where it is padded, differs in every detector.
    batch = TrainBatch(replace(batch.images, sizes=((96, 128),) * 2), batch.targets)
    both = model(batch)
    alone = [model(TrainBatch(batch.images.part(n, n + 1), batch.targets[n : n + 1])) for n in (0, 1)]
    for name, loss in both.items():
        torch.testing.assert_close(loss, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("per_class", [False, True])
def test_learns_two_images(per_class: bool) -> None:
    torch.set_num_threads(1)
    head = {"per_class_boxes": per_class, "boxes_train_backbone": True}
    model, batch = build(backbone={"norm": "trainable"}, head=head), scenes()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(45):
        optimizer.zero_grad()
        torch.stack(list(model(batch).values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert model(batch)["class"] < 0.2
    for found, target in zip(model.detect(batch.images), batch.targets, strict=True):
        for box, label in zip(target.boxes, target.labels, strict=True):
            own = found.at(found.labels == label)
            assert own.scores[0] > 0.5
            assert pairwise_iou(own.boxes[:1], box[None]) > 0.6


def test_images_without_objects_teach_background() -> None:
    losses = build()(empty(scenes()))
    assert losses["box"] == 0
    assert losses["class"] > 0
    torch.stack(list(losses.values())).sum().backward()


def test_it_can_be_asked_for_what_trains() -> None:
    model, batch = build(), scenes()
    assert isinstance(model, MatchesObjects)
    assert isinstance(model, ShowsTrainingBoxes)
    assert isinstance(model, ComputesMaps)
    assert isinstance(model.classifier, HasClassOutputs)
    assert (model.classifier.outputs_per_class, model.regressor.outputs_per_class) == ({"output": 1}, {})
    assert build(head={"per_class_boxes": True}).regressor.outputs_per_class == {"output": 4}
    windows, positives = model.candidate_boxes(batch.targets[0], (96, 128), None)
    # The finest windows are 16 px apart in an image of one and a half times the size.
    assert (model.candidates, model.candidates_per_image, model.finest_stride) == ("anchors", 64, 11)
    assert positives >= 2
    assert windows.min() >= 0
    for (own, regions), target in zip(model.training_boxes(batch), batch.targets, strict=True):
        assert len(regions) == 0
        assert len(own) >= 2
        assert (pairwise_iou(own, target.boxes).amax(1) > 0.3).all()


def test_published_layers_are_read_where_windows_have_their_size(tmp_path: Any) -> None:
    width, file = 0.0625, tmp_path / "alexnet.pth"
    state = {name: torch.full_like(value, 0.5) for name, value in AlexNet(width=width).state_dict().items()}
    fc6, fc7 = torch.rand(256, 16 * 36), torch.rand(256, 256)
    state |= {"classifier.1.weight": fc6, "classifier.1.bias": torch.rand(256)}
    state |= {"classifier.4.weight": fc7, "classifier.4.bias": torch.rand(256)}
    torch.save(state, file)
    backbone = {"type": "alexnet", "width": width, "weights": str(file)}
    head = {"type": "dense_softmax", "box_channels": (8, 8)}
    for cells, same in ((None, True), (5, False)):
        regions = {"type": "offset_pool", "size": 3, "stride": 2, "cells": cells}
        spec = OverFeatConfig.model_validate(
            {"type": "overfeat", "backbone": backbone, "regions": regions, "head": head}
        )
        model: Any = build_detector(spec, K, 0)
        assert (
            model.classifier.fc6.weight.shape == fc6.shape
            and bool((model.classifier.fc6.weight == fc6).all())
        ) == same
        assert (model.classifier.fc7.weight.shape == fc7.shape) == same
        assert (model.pyramid.backbone.features[0].weight == 0.5).all()


@pytest.mark.parametrize("kind", [family.name for family in FAMILIES])
@pytest.mark.parametrize("size", [(40, 23), (97, 130)])
def test_every_backbone_reads_images_of_any_size(kind: str, size: tuple[int, int]) -> None:
    head = {"type": "dense_softmax", "channels": 8, "box_channels": (8, 8)}
    spec = OverFeatConfig.model_validate(
        {"type": "overfeat", "backbone": {"type": kind, "width": 0.125}, "head": head}
    )
    model = build_detector(spec, K, 0)
    pixels = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        found = model.detect(ImageBatch(pixels, (size,), (size,)))  # type: ignore[operator]
    assert len(found) == 1


class OwnBackbone(nn.Module):
    """Cells of 8 pixels, of which it leaves the last one out."""

    channels, strides = (4,), (8,)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, 8)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        maps: Tensor = self.conv(pixels)
        return [maps.relu()]


def test_a_backbone_of_the_users_own() -> None:
    model: Any = build_detector(config(), K, 0, backbone=OwnBackbone())
    assert model.pyramid.stride == 8
    batch = scenes()
    torch.stack(list(model(batch).values())).sum().backward()
    assert len(model.detect(batch.images)) == 2
