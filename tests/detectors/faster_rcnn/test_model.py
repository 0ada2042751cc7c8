"""Faster R-CNN as a whole: what it promises whatever its parts are."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.models.rpn.rpn_head import RPNHead
from detkit.ops.boxes import pairwise_iou
from detkit.structures import ImageBatch, Target, TrainBatch

SMALL: dict[str, Any] = {
    "type": "faster_rcnn",
    "backbone": {"type": "resnet", "depth": 18, "width": 0.125},
    "proposals": {
        "type": "rpn",
        "channels": 16,
        "anchors": {"sizes_px": ((16.0, 32.0),)},
        "min_size_px": 1.0,
        "post_nms_train": 60,
        "post_nms_test": 40,
    },
    "regions": {"type": "roi_align", "size": 5},
    "head": {"type": "layer4", "batch_per_image": 16, "score_threshold": 0.0},
}


def build(**changes: dict[str, Any]) -> FasterRCNN:
    parts = {**SMALL, **{part: {**SMALL[part], **own} for part, own in changes.items()}}
    model = build_detector(FasterRCNNConfig.model_validate(parts), 3, seed=0)
    assert isinstance(model, FasterRCNN)
    return model


def images(num: int = 2, height: int = 64, width: int = 96) -> ImageBatch:
    pixels = torch.randint(0, 256, (num, 3, height, width), generator=torch.Generator().manual_seed(3))
    sizes = ((height, width),) * num
    return ImageBatch(pixels.to(torch.uint8), sizes, sizes)


def batch() -> TrainBatch:
    boxes = (torch.tensor([[8.0, 8, 40, 40], [50, 20, 80, 50]]), torch.tensor([[30.0, 4, 60, 60]]))
    labels = (torch.tensor([0, 2]), torch.tensor([1]))
    return TrainBatch(images(), tuple(Target.of(boxes[i], labels[i], i) for i in range(2)), seed=5)


def losses(model: FasterRCNN, own: TrainBatch) -> Tensor:
    return torch.stack(list(model(own).values())).detach()


def alone(own: TrainBatch, index: int) -> TrainBatch:
    pixels = own.images.pixels[index : index + 1]
    sizes = own.images.sizes[index : index + 1]
    return TrainBatch(ImageBatch(pixels, sizes, sizes), own.targets[index : index + 1], own.seed)


def test_losses_of_a_batch_are_the_mean_of_its_images() -> None:
    model, both = build(), batch()
    apart = torch.stack([losses(model, alone(both, index)) for index in range(2)]).mean(0)
    torch.testing.assert_close(losses(model, both), apart, rtol=1e-4, atol=1e-6)


def test_losses_by_drawn_anchors_alone_have_the_gradients_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for few in (True, False):
        monkeypatch.setattr(RPNHead, "sees_one_window", few)
        model = build()
        with torch.no_grad():
            for parameter in model.rpn.parameters():
                parameter.mul_(10)  # what it says at first is next to nothing
        torch.stack(list(model(batch()).values())).sum().backward()
        gradients.append({name: own.grad for name, own in model.named_parameters() if own.grad is not None})
    assert any(name.startswith("rpn.head.conv") for name in gradients[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_seed_decides_what_is_drawn() -> None:
    model, own = build(), batch()
    assert torch.equal(losses(model, own), losses(model, own))
    assert not torch.equal(losses(model, own), losses(model, replace(own, seed=6)))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("proposals", {"objectness": "softmax"}),
        ("proposals", {"border_px": None}),
        ("proposals", {"fg_iou": 0.5}),
        ("proposals", {"bg_iou": 0.1}),
        ("proposals", {"batch_per_image": 32}),
        ("proposals", {"fg_fraction": 0.0}),
        ("proposals", {"beta": 0.0}),
        ("proposals", {"box_loss_weight": 2.0}),
        ("proposals", {"normalize_by": "batch"}),
        ("proposals", {"normalize_by": "batch_size"}),
        ("proposals", {"pre_nms_train": 10}),
        ("proposals", {"post_nms_train": 10}),
        ("proposals", {"nms_iou": 0.3}),
        ("proposals", {"min_size_px": 30.0}),
        ("regions", {"type": "roi_pool"}),
        ("regions", {"size": 7}),
        ("regions", {"sampling_ratio": 1}),
        ("regions", {"aligned": False}),
        ("head", {"batch_per_image": 8}),
        ("head", {"fg_fraction": 0.1}),
        ("head", {"fg_iou": 0.9}),
        ("head", {"bg_iou": (0.1, 0.5)}),
        ("head", {"add_ground_truth": False}),
        ("head", {"box_weights": (1.0, 1.0, 1.0, 1.0)}),
        ("head", {"beta": 0.1}),
        ("head", {"box_loss_weight": 2.0}),
        ("head", {"normalize_by": "batch_size", "batch_per_image": 512}),
    ],
)
def test_every_choice_of_training_changes_the_losses(part: str, change: dict[str, Any]) -> None:
    model = build(**{part: change})
    own = replace(batch(), targets=(batch().targets[0], replace(batch().targets[1], image=7)))
    assert not torch.allclose(losses(build(), own), losses(model, own), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("proposals", {"pre_nms_test": 5}),
        ("proposals", {"post_nms_test": 5}),
        ("head", {"score_threshold": 0.3}),
        ("head", {"nms_iou": 0.9}),
        ("head", {"detections_per_image": 7}),
    ],
)
def test_every_choice_of_detection_changes_what_is_found(part: str, change: dict[str, Any]) -> None:
    usual, other = build().eval().detect(images())[0], build(**{part: change}).eval().detect(images())[0]
    assert len(usual) != len(other) or not torch.equal(usual.boxes, other.boxes)


def test_detections_are_ordered_and_inside_the_file() -> None:
    own = replace(images(), originals=((640, 480),) * 2)
    for found in build().eval().detect(own):
        assert len(found) > 0
        assert (found.scores.diff() <= 0).all()
        assert ((found.boxes >= 0) & (found.boxes <= torch.tensor([480.0, 640, 480, 640]))).all()
        assert ((found.labels >= 0) & (found.labels < 3)).all()
        assert found.boxes[:, 2].max() > 96  # scaled up from the 64 x 96 pixels that the network saw


def test_padding_is_zero_and_holds_no_anchors() -> None:
    model, own = build(), images()
    padded = ImageBatch(own.pixels, ((40, 96), (64, 50)), own.originals)
    pixels = model.prepare(padded)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert not pixels[0, :, 40:].any()
    assert not pixels[1, :, :, 50:].any()
    wanted = (own.pixels[0, :, :40] / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    torch.testing.assert_close(pixels[0, :, :40], wanted)
    inside = model.rpn(model.neck(model.backbone(pixels)), padded.sizes).inside[0].view(2, 4, 6, -1)
    assert inside[0].all(dim=2).tolist() == [[True] * 6] * 3 + [[False] * 6]
    assert inside[1].all(dim=2).tolist() == [[True] * 4 + [False] * 2] * 4
    for found, (height, width) in zip(
        model.eval().detect(replace(padded, originals=padded.sizes)), padded.sizes, strict=True
    ):
        assert found.boxes[:, 2].max() <= width
        assert found.boxes[:, 3].max() <= height


def test_autocast_keeps_losses_in_float32() -> None:
    model, own = build(), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(own)
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in found.values())
    torch.testing.assert_close(
        torch.stack(list(found.values())).detach(), losses(model, own), rtol=0.2, atol=0.05
    )


def test_class_agnostic_boxes_are_the_same_for_all_classes() -> None:
    model = build(head={"class_agnostic": True, "nms_iou": 1.0})
    assert model.roi_head.predictor.bbox_pred.out_features == 4
    assert torch.isfinite(losses(model, batch())).all()
    found = model.eval().detect(images())[0]
    assert len(torch.unique(found.boxes, dim=0)) < len(found)


def test_crowds_and_difficult_objects_train_no_background() -> None:
    model = build()
    everywhere = torch.tensor([[0.0, 0.0, 96.0, 64.0]])
    flags, none = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    crowd = Target(everywhere, torch.tensor([0]), none, flags, None, 0)
    own = TrainBatch(images(1), (crowd,), 0)
    assert losses(model, own).tolist() == [0, 0, 0, 0]


def test_saved_state_has_no_image_statistics_and_loads() -> None:
    model = build()
    twin = build_detector(FasterRCNNConfig.model_validate(SMALL), 3, seed=1)
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    assert not {"mean", "std"} & set(model.state_dict())
    assert torch.equal(losses(model, batch()), losses(twin, batch()))  # type: ignore[arg-type]


def test_boxes_that_train_for_objects_lie_on_objects() -> None:
    """Positive anchors: IoU 0.7, or the best of an object; regions with an object: IoU 0.5."""
    model, own = build(), batch()
    for (anchors, regions), target in zip(model.training_boxes(own), own.targets, strict=True):
        assert len(anchors) > 0
        inside = (anchors >= 0).all(1) & (anchors <= torch.tensor([96.0, 64, 96, 64])).all(1)
        assert inside.all()
        iou = pairwise_iou(anchors, target.boxes)
        is_best = (iou == iou.amax(0)).any(1)
        assert ((iou.amax(1) >= 0.7) | is_best).all()
        assert (pairwise_iou(regions, target.boxes).amax(1) >= 0.5).all()
        for box in target.boxes:  # a labelled box is among the regions
            assert (regions == box).all(1).any()
        assert len(regions) <= 4  # a quarter of 16
