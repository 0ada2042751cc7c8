"""The whole model: its windows, its losses, what it detects, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detkit.capabilities import ComputesMaps, HasClassOutputs, MatchesObjects, ShowsTrainingBoxes
from detkit.detectors.builder import build_detector
from detkit.detectors.dpm_cnn.config import DPMCNNConfig
from detkit.detectors.dpm_cnn.model import DPMCNN
from detkit.models.backbones.families import FAMILIES
from detkit.ops.boxes import pairwise_iou
from detkit.structures import ImageBatch, Target, TrainBatch

K = 2
RESNET = {"type": "resnet", "depth": 18, "width": 0.125, "norm": "frozen"}


def config(**parts: dict[str, Any]) -> DPMCNNConfig:
    given: dict[str, dict[str, Any]] = {
        "backbone": RESNET,
        "proposals": {"roots": ((2, 2), (2, 3)), "parts": 1, "part_size": (2, 2), "reach": 1},
        "regions": {"levels": 3, "scale": 1.0},
        "head": {},
    }
    types = {"backbone": "resnet", "proposals": "stars", "regions": "max5", "head": "latent_svm"}
    for name, kind in types.items():
        given[name] = {"type": kind, **given[name], **parts.get(name, {})}
    return DPMCNNConfig.model_validate({"type": "dpm_cnn", **given})


def build(**parts: dict[str, Any]) -> DPMCNN:
    model = build_detector(config(**parts), K, seed=0)
    assert isinstance(model, DPMCNN)
    return model


def scenes() -> TrainBatch:
    """Two images of bright and dark rectangles on noise; the second is smaller and padded."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 150, (2, 3, 96, 128), generator=noise, dtype=torch.uint8)
    objects = [[(10, 12, 42, 44, 0), (70, 40, 118, 90, 1)], [(30, 20, 78, 60, 1), (84, 10, 116, 42, 0)]]
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


def test_windows_are_the_roots_at_each_cell_of_each_level() -> None:
    model = build()
    model.pyramid.cell_offset = 0.5
    windows = model.windows((64, 96))
    cells = [(4, 6), (3, 5), (2, 3)]  # 64 x 96, 45 x 68 and 32 x 48 pixels
    assert model.pyramid.cells((64, 96)) == cells
    assert windows.shape == (24 + 15 + 6, 2, 4)
    # At row 1 and column 2 of the first level, rows and columns begin one cell before.
    assert windows[6 + 2].tolist() == [[16, 0, 48, 32], [16, 0, 64, 32]]
    # At row 1 and column 1 of the last, whose cells are of 32 pixels.
    assert windows[24 + 15 + 3 + 1].tolist() == [[0, 0, 64, 64], [0, 0, 96, 64]]
    # A ResNet's first cell sees the pixels around the first one.
    moved = build().windows((64, 96))
    torch.testing.assert_close(moved[0], windows[0] - 7.5)


def test_a_detection_is_the_best_component_with_its_box_margin_and_part() -> None:
    model, images = build(head={"margin_threshold": -9.0}).eval(), scenes().images
    for parameter in model.components.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    (found, _), size = model.detect(images), images.sizes[0]
    with torch.no_grad():
        given = model.placements(images)
    values = []
    for level, (rows, columns), (cell_y, cell_x) in zip(
        given, model.pyramid.cells(size), model.pyramid.cell_px(size), strict=True
    ):
        for y in range(rows):
            for x in range(columns):
                each = torch.stack([own.margins[0, :, y, x] for own in level])
                best, component = each.max(0)
                for label in range(K):
                    stars: Any = model.components[int(component[label])]
                    part = stars.part_boxes(
                        level[int(component[label])],
                        0,
                        torch.tensor([label]),
                        torch.tensor([y]),
                        torch.tensor([x]),
                    )[0, 0]
                    px = torch.tensor([cell_x, cell_y] * 2)
                    root = stars.boxes(torch.tensor([y]), torch.tensor([x]))[0]
                    shift = model.pyramid.cell_offset - 0.5
                    values.append((best[label], label, (root + shift) * px, (part + shift) * px))
    margin, label, root, part = max(values, key=lambda value: value[0])
    assert found.margins is not None
    assert found.parts is not None
    assert found.labels[0] == label
    torch.testing.assert_close(found.margins[0], margin)
    torch.testing.assert_close(found.scores[0], margin.sigmoid())
    torch.testing.assert_close(found.parts[0], part[None])
    limits = torch.tensor([128.0, 96, 128, 96])
    torch.testing.assert_close(found.boxes[0], torch.minimum(root.clamp(min=0), limits))


def test_boxes_move_by_what_is_learned_of_them() -> None:
    images = scenes().images
    still, moving = build().eval(), build(head={"box_regression": True}).eval()
    moving.load_state_dict(still.state_dict(), strict=False)
    for component in moving.components:
        layer: Any = component.deltas
        layer.weight.data.zero_()
        # A quarter of the width to the right, and twice the height.
        layer.bias.data = torch.tensor([0.25, 0.0, 0.0, math.log(2)])
    for model in (still, moving):
        model.chosen = replace(model.chosen, nms_iou=1.0, per_image=10**6)
    before, after = (model.detect(images)[0] for model in (still, moving))
    assert before.margins is not None
    assert after.margins is not None
    sides = before.boxes[:, 2:] - before.boxes[:, :2]
    within = ((before.boxes[:, :2] > 0) & (before.boxes[:, 2:] < torch.tensor([128.0, 96]))).all(1)
    for box, margin, (width, height) in zip(
        before.boxes[within], before.margins[within], sides[within], strict=True
    ):
        moved = torch.stack(
            [box[0] + width / 4, box[1] - height / 2, box[2] + width / 4, box[3] + height / 2]
        )
        moved = torch.minimum(moved.clamp(min=0), torch.tensor([128.0, 96, 128, 96]))
        assert (after.boxes[after.margins == margin] - moved).abs().amax(1).min() < 1e-3
    assert within.any()


def test_results_are_in_pixels_of_the_file_and_above_the_threshold() -> None:
    batch = scenes()
    model = build(head={"margin_threshold": -1.0, "detections_per_image": 5}).eval()
    twice = replace(batch.images, originals=tuple((2 * h, 2 * w) for h, w in batch.images.sizes))
    for own, large in zip(model.detect(batch.images), model.detect(twice), strict=True):
        assert 0 < len(own) <= 5
        assert own.margins is not None
        assert own.margins.min() >= -1
        torch.testing.assert_close(own.boxes * 2, large.boxes)
    model.chosen = replace(model.chosen, margin_threshold=9.0)
    assert [len(own) for own in model.detect(batch.images)] == [0, 0]


def test_boxes_learn_from_the_windows_on_objects_alone() -> None:
    model, batch = build(head={"box_regression": True, "box_iou": 0.4}), scenes()
    windows = model.windows((96, 128)).flatten(0, 1)
    near = (pairwise_iou(windows.clamp(min=0), batch.targets[0].boxes) >= 0.4).any(1)
    assert near.any()
    losses = model(batch)
    assert set(losses) == {"hinge", "box"}
    for component in model.components:
        component.deltas.weight.data.zero_()  # type: ignore[union-attr,operator]
    assert model(empty(batch))["box"] == 0
    assert model(batch)["box"] > 0


def test_what_an_image_contributes_does_not_depend_on_the_others() -> None:
    model, batch = build(head={"box_regression": True}).eval(), scenes()
    # Of one size: what a network sees beyond a smaller image, where it is padded, differs in every detector.
    batch = TrainBatch(replace(batch.images, sizes=((96, 128),) * 2), batch.targets)
    both = model(batch)
    alone = [model(TrainBatch(batch.images.part(n, n + 1), batch.targets[n : n + 1])) for n in (0, 1)]
    for name, loss in both.items():
        torch.testing.assert_close(loss, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", [0, 1])
def test_learns_two_images(parts: int) -> None:
    torch.set_num_threads(1)
    model = build(backbone={"norm": "trainable"}, proposals={"parts": parts}, head={"box_regression": True})
    batch, steps = scenes(), 60
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack(list(model(batch).values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert model(batch)["hinge"] < 0.2
    for found, target in zip(model.detect(batch.images), batch.targets, strict=True):
        for box, label in zip(target.boxes, target.labels, strict=True):
            own = found.at(found.labels == label)
            assert own.margins is not None
            assert own.margins[0] > 0.5
            assert pairwise_iou(own.boxes[:1], box[None]) > 0.5


def test_images_without_objects_teach_background() -> None:
    losses = build(head={"box_regression": True})(empty(scenes()))
    assert all(torch.isfinite(loss) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()


def test_it_can_be_asked_for_what_trains() -> None:
    model, batch = build(), scenes()
    assert isinstance(model, MatchesObjects)
    assert isinstance(model, ShowsTrainingBoxes)
    assert isinstance(model, ComputesMaps)
    assert all(isinstance(component, HasClassOutputs) for component in model.components)
    windows, positives = model.candidate_boxes(batch.targets[0], (96, 128), None)
    assert (model.candidates, model.candidates_per_image, model.finest_stride) == ("anchors", 1, 16)
    assert positives == 2
    for (own, regions), target in zip(model.training_boxes(batch), batch.targets, strict=True):
        assert len(regions) == 0
        best = pairwise_iou(windows, target.boxes).amax(0).clamp(max=0.7)
        assert (pairwise_iou(own, target.boxes).diagonal() >= best - 0.1).all()


@pytest.mark.parametrize("kind", [family.name for family in FAMILIES])
@pytest.mark.parametrize("size", [(40, 23), (97, 130)])
def test_every_backbone_gives_the_cells_of_any_image(kind: str, size: tuple[int, int]) -> None:
    spec = DPMCNNConfig.model_validate(
        {"type": "dpm_cnn", "backbone": {"type": kind, "width": 0.125}, "regions": {"type": "max5"}}
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
    assert model.pyramid.stride == model.finest_stride == 8
    batch = scenes()
    torch.stack(list(model(batch).values())).sum().backward()
    assert len(model.detect(batch.images)) == 2
