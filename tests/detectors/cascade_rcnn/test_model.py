"""Cascade R-CNN beside a slow one of loops, and each of its choices alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.detectors.builder import build_detector
from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig
from detkit.detectors.cascade_rcnn.model import CascadeRCNN, next_regions
from detkit.models.roi.roi_head import Regions, RoIHead
from detkit.structures import ImageBatch, Target, TrainBatch
from tests.reference import cascade
from tests.reference.overlaps import iou

STRIDE, CELLS, SAMPLES = 16, 3, 1
POOL = STRIDE, CELLS, SAMPLES
SIZES = ((64, 96), (48, 80))
SMALL: dict[str, Any] = {
    "type": "cascade_rcnn",
    "backbone": {"type": "resnet", "depth": 18, "width": 0.125},
    "proposals": {
        "type": "rpn",
        "channels": 16,
        "anchors": {"sizes_px": ((16.0, 32.0),)},
        "min_size_px": 1.0,
        "post_nms_train": 24,
        "post_nms_test": 12,
    },
    "regions": {"type": "roi_align", "size": CELLS, "sampling_ratio": SAMPLES},
    "head": {"type": "two_fc", "channels": 8, "fg_fraction": 1.0, "score_threshold": 0.0, "nms_iou": 0.6},
}
STAGES = (
    {"fg_iou": 0.6, "box_weights": (20.0, 20.0, 10.0, 10.0)},
    {"fg_iou": 0.7, "box_weights": (30.0, 30.0, 15.0, 15.0)},
)


def build(**changes: Any) -> CascadeRCNN:
    """Return a detector whose heads say much, so that boxes move by a tenth of their sides and more."""
    spec = CascadeRCNNConfig.model_validate(
        {**SMALL, **{key: {**SMALL[key], **own} if key in SMALL else own for key, own in changes.items()}}
    )
    model = build_detector(spec, 3, seed=0)
    assert isinstance(model, CascadeRCNN)
    noise = torch.Generator().manual_seed(1)
    for number, stage in enumerate(model.roi_heads, 1):
        for layer, size in ((stage.predictor.cls_score, 1.0), (stage.predictor.bbox_pred, 0.25 * number)):
            layer.weight.data = size * torch.randn(layer.weight.shape, generator=noise)
            layer.bias.data = size * torch.randn(layer.bias.shape, generator=noise)
    return model


def batch() -> TrainBatch:
    noise = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (2, 3, 64, 96), generator=noise, dtype=torch.uint8)
    boxes = (torch.tensor([[8.0, 8, 40, 40], [50, 20, 80, 50]]), torch.tensor([[30.0, 4, 60, 40]]))
    labels = (torch.tensor([0, 2]), torch.tensor([1]))
    targets = tuple(Target.of(boxes[i], labels[i], i) for i in range(2))
    return TrainBatch(ImageBatch(pixels, SIZES, SIZES), targets, seed=5)


def proposals_of(model: CascadeRCNN, own: TrainBatch) -> tuple[list[Tensor], list[Tensor]]:
    """Return the maps, and proposals of which some fit an object well."""
    maps = model.feature_maps(own.images)
    noise = torch.Generator().manual_seed(7)
    found = []
    for target, (height, width) in zip(own.targets, SIZES, strict=True):
        near = target.boxes.repeat(5, 1)
        near = near + 4 * torch.randn(near.shape, generator=noise)
        corners = torch.rand((8, 2, 2), generator=noise) * torch.tensor([width, height])
        far = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)
        limits = torch.tensor([width, height, width, height])
        found.append(torch.cat([near, far]).clamp(min=0).minimum(limits))
    return maps, found


def slow_stages(model: CascadeRCNN) -> list[cascade.Stage]:
    """Return the heads as the reference has them: what each is for is written here, not asked for."""
    told = ((0.5, (10.0, 10.0, 5.0, 5.0)), (0.6, (20.0, 20.0, 10.0, 10.0)), (0.7, (30.0, 30.0, 15.0, 15.0)))
    stages = []
    for stage, (fg_iou, weights) in zip(model.roi_heads, told, strict=True):
        head: Any = stage.head
        layers = (head.fc6, head.fc7, stage.predictor.cls_score, stage.predictor.bbox_pred)
        arrays = [
            (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in layers
        ]
        stages.append(cascade.Stage(arrays, fg_iou, weights))
    return stages


def map_of(maps: list[Tensor], image: int) -> cascade.Array:
    return np.asarray(maps[0][image].detach().double().numpy())


def test_losses_are_those_of_loops() -> None:
    model, own = build(), batch()
    maps, proposals = proposals_of(model, own)
    found = model.region_losses(maps, proposals, own)
    wanted = []
    for image, target in enumerate(own.targets):
        objects = list(zip(target.boxes.tolist(), target.labels.tolist(), strict=True))
        wanted.append(
            cascade.losses(
                slow_stages(model),
                map_of(maps, image),
                proposals[image].tolist(),
                objects,
                SIZES[image],
                POOL,
            )
        )
    means = np.mean(wanted, axis=0)
    assert means.shape == (3, 2)
    assert (means > 0.05).all()
    for number, (head_class, head_box) in enumerate(means):
        of = ("", "_2", "_3")[number]
        assert found[f"head_class{of}"].item() == pytest.approx(head_class, rel=1e-4)
        assert found[f"head_box{of}"].item() == pytest.approx(head_box, rel=1e-4)


@pytest.mark.parametrize("scores", ["last", "own", "own_logits"])
def test_detections_are_those_of_loops(scores: str) -> None:
    model, own = build(scores=scores).eval(), batch()
    maps, proposals = proposals_of(model, own)
    with torch.no_grad():
        found = model.detect_regions(maps, proposals, SIZES)
    for image, detections in enumerate(found):
        wanted = cascade.detections(
            slow_stages(model),
            map_of(maps, image),
            proposals[image].tolist(),
            SIZES[image],
            POOL,
            0.6,
            scores,
        )
        wanted = sorted(wanted, key=lambda one: -one[1])[:100]
        assert len(wanted) > 15
        assert detections.labels.tolist() == [label for label, _, _ in wanted]
        torch.testing.assert_close(detections.scores, torch.tensor([score for _, score, _ in wanted]))
        boxes = torch.tensor([box for _, _, box in wanted], dtype=torch.float32)
        torch.testing.assert_close(detections.boxes, boxes, rtol=1e-4, atol=1e-3)


def losses(model: CascadeRCNN) -> dict[str, float]:
    own = batch()
    found = model.region_losses(*proposals_of(model, own), own)
    return {name: loss.item() for name, loss in found.items()}


def test_what_a_stage_is_trained_for_changes_its_losses_and_not_those_before() -> None:
    usual = losses(build())
    of_labels, of_weights = {"fg_iou": 0.3}, {"box_weights": (12.0, 12.0, 6.0, 6.0)}
    for stages, changed in (
        (({**STAGES[0], **of_labels}, STAGES[1]), {"head_class_2", "head_box_2"}),
        ((STAGES[0], {**STAGES[1], **of_labels}), {"head_class_3", "head_box_3"}),
        (({**STAGES[0], **of_weights}, STAGES[1]), {"head_box_2", "head_class_3", "head_box_3"}),
        ((STAGES[0], {**STAGES[1], **of_weights}), {"head_box_3"}),
    ):
        other = losses(build(later_stages=stages))
        assert {name for name in usual if other[name] != pytest.approx(usual[name], rel=1e-6)} == changed
    assert losses(build(later_stages=(STAGES[0],))).keys() == usual.keys() - {"head_class_3", "head_box_3"}


def test_the_last_stage_moves_by_its_own_weights() -> None:
    model, own = build().eval(), batch()
    maps, proposals = proposals_of(model, own)
    with torch.no_grad():
        before = model.detect_regions(maps, proposals, SIZES)[0]
        halved = build(
            later_stages=(STAGES[0], {**STAGES[1], "box_weights": (60.0, 60.0, 30.0, 30.0)})
        ).eval()
        after = halved.detect_regions(maps, proposals, SIZES)[0]
    assert after.scores[0] == before.scores[0]
    assert not torch.allclose(after.boxes[0], before.boxes[0], atol=0.1)


def test_a_stage_counts_as_much_as_its_weight_says() -> None:
    usual = losses(build())
    weights = [{**stage, "loss_weight": weight} for stage, weight in zip(STAGES, (0.5, 0.25), strict=True)]
    weighted = losses(build(later_stages=tuple(weights)))
    factors = {"": 1.0, "_2": 0.5, "_3": 0.25}
    for of, factor in factors.items():
        for name in (f"head_class{of}", f"head_box{of}"):
            assert weighted[name] == pytest.approx(factor * usual[name], rel=1e-6)


def gradients(model: CascadeRCNN, *names: str) -> dict[str, Tensor]:
    own = batch()
    found = model.region_losses(*proposals_of(model, own), own)
    torch.stack([found[name] for name in names]).sum().backward()
    return {name: own.grad for name, own in model.named_parameters() if own.grad is not None}


def test_maps_get_the_fraction_of_a_stages_gradient_and_its_layers_all_of_it() -> None:
    names = ("head_class_2", "head_box_2")
    whole = gradients(build(later_stages=({**STAGES[0], "feature_gradient": 1.0}, STAGES[1])), *names)
    part = gradients(build(later_stages=({**STAGES[0], "feature_gradient": 0.25}, STAGES[1])), *names)
    assert whole.keys() == part.keys()
    assert any(name.startswith("backbone") for name in whole)
    assert any(name.startswith("later_stages.0") for name in whole)
    # What moved the boxes learns nothing from what is said of them.
    assert not any(name.startswith(("roi_head", "rpn")) for name in whole)
    for name, gradient in whole.items():
        factor = 0.25 if name.startswith("backbone") else 1.0
        torch.testing.assert_close(part[name], factor * gradient, rtol=1e-4, atol=1e-7)


def test_the_first_stages_gradient_has_a_factor_too() -> None:
    whole = gradients(build(), "head_class")
    part = gradients(build(feature_gradient=0.5), "head_class")
    name = next(name for name in whole if name.startswith("backbone"))
    torch.testing.assert_close(part[name], 0.5 * whole[name], rtol=1e-4, atol=1e-7)


def passed_on(*, add_ground_truth: bool) -> Tensor:
    stage = build(head={"add_ground_truth": add_ground_truth}).roi_head
    boxes = torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 30.5], [10, 10, 30, 33], [60, 0, 90, 20]])
    drawn = Regions(boxes, torch.tensor([0, 0, 0, 3]), torch.zeros(3, 4))
    deltas = torch.zeros(4, 1, 4)
    deltas[3, 0] = torch.tensor([20.0, 0, 0, 0])  # out of the image
    target = Target.of(torch.tensor([[10.0, 10, 30, 30]]), torch.tensor([0]))
    return next_regions(stage, [drawn], deltas, [target], [(64, 96)])[0]


def test_labelled_boxes_are_not_passed_on_where_the_next_stage_adds_them() -> None:
    assert passed_on(add_ground_truth=True).tolist() == [[10.0, 10, 30, 33]]
    # IoU 1, 0.976 and 0.870
    assert passed_on(add_ground_truth=False).tolist() == [
        [10.0, 10, 30, 30],
        [10, 10, 30, 30.5],
        [10, 10, 30, 33],
    ]


def test_a_region_on_a_crowd_is_passed_on_because_no_labelled_box_is_added_for_it() -> None:
    box, flags = torch.tensor([[10.0, 10, 30, 30]]), torch.tensor([True])
    drawn = Regions(box, torch.tensor([3]), torch.zeros(0, 4))
    for difficult, crowd in ((flags, ~flags), (~flags, flags)):
        target = Target(box, torch.tensor([0]), difficult, crowd, None, 0)
        found = next_regions(build().roi_head, [drawn], torch.zeros(1, 1, 4), [target], [(64, 96)])[0]
        assert found.tolist() == box.tolist()


def test_later_stages_train_on_all_boxes_and_the_first_on_a_sample() -> None:
    model, own = build(head={"batch_per_image": 6, "fg_fraction": 0.5}), batch()
    seen: list[list[Regions]] = []

    def noted(stage: RoIHead) -> Any:
        def sample_all(*given: Any) -> list[Regions]:
            seen.append(RoIHead.sample_all(stage, *given))
            return seen[-1]

        return sample_all

    for stage in model.roi_heads:
        stage.sample_all = noted(stage)  # type: ignore[method-assign]
    model.region_losses(*proposals_of(model, own), own)
    assert [len(regions.boxes) for regions in seen[0]] == [6, 6]
    for before, after, target in zip(seen[0], seen[1], own.targets, strict=True):
        objects = target.boxes.tolist()
        added = [box for box in before.boxes.tolist() if max(iou(box, one) for one in objects) >= 0.95]
        assert len(after.boxes) == 6 - len(added) + len(objects)
    assert max(len(regions.boxes) for regions in seen[1]) > 6
    for stage, fg_iou in zip(seen[1:], (0.6, 0.7), strict=True):
        for regions, target in zip(stage, own.targets, strict=True):
            best = [max(iou(box, obj) for obj in target.boxes.tolist()) for box in regions.boxes.tolist()]
            assert [value >= fg_iou for value in best] == (regions.labels < 3).tolist()


def test_an_image_without_proposals_or_objects_has_losses_and_detections_without_any() -> None:
    model, own = build(), batch()
    maps, none = model.feature_maps(own.images), [torch.zeros(0, 4)] * 2
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    found = model.region_losses(maps, none, TrainBatch(own.images, (nothing, nothing), 0))
    assert [loss.item() for loss in found.values()] == [0] * 6
    with torch.no_grad():
        assert [len(one) for one in model.detect_regions(maps, none, SIZES)] == [0, 0]
    # One image has proposals, and the other an object alone.
    only = [proposals_of(model, own)[1][0], none[0]]
    assert all(torch.isfinite(loss) for loss in model.region_losses(maps, only, own).values())
    with torch.no_grad():
        assert [len(one) > 0 for one in model.detect_regions(maps, only, SIZES)] == [True, False]


def test_fc_layers_of_all_stages_are_made_thin_and_exchanged() -> None:
    model = build()
    assert [layers is stage.head for layers, stage in zip(model.fc_layers, model.roi_heads, strict=True)] == [
        True
    ] * 3
    others = [torch.nn.Identity() for _ in range(3)]
    model.replace_fc_layers(others)
    assert [stage.head for stage in model.roi_heads] == others
    assert model.fc_layers == []


def test_new_layers_start_apart_and_a_backbones_own_from_its_weights_in_every_stage() -> None:
    first, *later = (stage.head.fc6.weight for stage in build().roi_heads)  # type: ignore[union-attr]
    for other in later:
        assert not torch.equal(other, first)
        assert other.std().item() == pytest.approx(first.std().item(), rel=0.1)
    spec = CascadeRCNNConfig.model_validate({**SMALL, "head": {"type": "layer4"}})
    whole, *copies = (stage.head.state_dict() for stage in build_detector(spec, 3).roi_heads)  # type: ignore[union-attr]
    for copy in copies:
        assert all(torch.equal(copy[name], value) for name, value in whole.items())
        assert all(copy[name].data_ptr() != value.data_ptr() for name, value in whole.items())
