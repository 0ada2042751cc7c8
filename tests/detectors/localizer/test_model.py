"""A localizer learns class and box, and says them in pixels of the image's file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from detkit.detectors.builder import build_detector
from detkit.detectors.localizer.coding import decode_boxes
from detkit.detectors.localizer.config import LocalizerConfig
from detkit.detectors.localizer.model import Localizer
from detkit.models.backbones.families import FAMILIES
from detkit.ops.boxes import pairwise_iou
from detkit.structures import ImageBatch, Target, TrainBatch

NETWORKS: dict[str, dict[str, Any]] = {
    name: keys for family in FAMILIES for name, keys in list(family.variants.items())[:1]
}
WITH_FC = [name for family in FAMILIES if family.fc for name in family.variants]


def spec(name: str = "resnet18", **more: Any) -> LocalizerConfig:
    own = {**NETWORKS[name], "width": 0.125, **more.pop("backbone", {})}
    given = {"regression": {"channels": 32}, "dropout": 0.0, **more}
    return LocalizerConfig.model_validate({"type": "localizer", "backbone": own, "size_px": 64, **given})


def build(name: str = "resnet18", num_classes: int = 3, **more: Any) -> Localizer:
    model = build_detector(spec(name, **more), num_classes, 0)
    assert isinstance(model, Localizer)
    return model


def bright(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (64, 64)) -> TrainBatch:
    """Return images of noise with one bright box each, of classes 0, 1, ..."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 80, (len(boxes), 3, *size), generator=noise, dtype=torch.uint8)
    for number, (image, (x1, y1, x2, y2)) in enumerate(zip(pixels, boxes, strict=True)):
        image[number % 3, y1:y2, x1:x2] = 250
    targets = tuple(
        Target.of(torch.tensor([box], dtype=torch.float32), torch.tensor([number % 3]), number)
        for number, box in enumerate(boxes)
    )
    return TrainBatch(ImageBatch(pixels, (size,) * len(boxes), (size,) * len(boxes)), targets)


TWO = ((4, 8, 40, 30), (20, 30, 60, 62))


def learn(model: Localizer, batch: TrainBatch, steps: int = 60) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (0.2 if step > steps * 0.7 else 1)
        optimizer.zero_grad()
        torch.stack(list(model(batch).values())).sum().backward()
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("agnostic", [True, False])
@pytest.mark.parametrize(("name", "attach"), [("resnet18", "conv"), ("alexnet", "fc")])
def test_overfits_two_images(name: str, attach: str, agnostic: bool) -> None:
    how = {"attach": attach, "channels": 32, "class_agnostic": agnostic}
    norm = {"norm": "frozen"} if name == "resnet18" else {}
    model, batch = build(name, regression=how, backbone=norm), bright(*TWO)
    learn(model, batch)
    for found, target in zip(model.detect(batch.images), batch.targets, strict=True):
        assert found.labels[0] == target.labels[0]
        assert found.scores[0] > 0.9
        assert pairwise_iou(found.boxes[:1], target.boxes).item() > 0.7


@pytest.mark.parametrize("attach", ["conv", "fc"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_backbone_learns_all_its_weights(name: str, attach: str) -> None:
    if attach == "fc" and name not in WITH_FC:
        with pytest.raises(ValidationError, match="take conv"):
            spec(name, regression={"attach": "fc"})
        return
    points = {"names": ("tip", "tail"), "stages": 2}
    model = build(name, regression={"attach": attach, "channels": 8}, keypoints=points)
    torch.stack(list(model(bright(*TWO)).values())).sum().backward()
    assert not [key for key, value in model.named_parameters() if value.grad is None]
    found = model.eval().detect(bright(*TWO).images)
    assert [one.keypoints.shape for one in found if one.keypoints is not None] == [(3, 2, 2)] * 2


def test_the_losses_are_those_of_the_formulas() -> None:
    """Cross entropy and, summed over the four numbers, the squared distance or smooth L1, by hand."""
    batch = bright(*TWO)
    for loss in ("l2", "smooth_l1"):
        model = build(regression={"channels": 32, "loss": loss, "beta": 0.1, "loss_weight": 3.0}).eval()
        last, vector = model.trunk(model.prepare(batch.images))
        scores = model.trunk.tail.logits(vector).softmax(1)
        codes = model.boxes(last, vector)[:, 0]
        wanted = []
        for (x1, y1, x2, y2), code in zip(TWO, codes.tolist(), strict=True):
            own = (
                (x1 + x2) / 128 - 0.5 - code[0], (y1 + y2) / 128 - 0.5 - code[1],
                (x2 - x1) / 64 - code[2], (y2 - y1) / 64 - code[3],
            )  # fmt: skip
            if loss == "l2":
                wanted.append(sum(d**2 for d in own))
            else:
                wanted.append(sum(d**2 / 0.2 if abs(d) < 0.1 else abs(d) - 0.05 for d in own))
        found = model(batch)
        assert found["box"].item() == pytest.approx(3 * sum(wanted) / 2, rel=1e-4)
        assert found["class"].item() == pytest.approx(
            -(scores[0, 0].log() + scores[1, 1].log()).item() / 2, rel=1e-4
        )


def test_each_class_has_its_own_box_where_they_are_not_one() -> None:
    model = build(regression={"channels": 32, "class_agnostic": False}).eval()
    images = bright(*TWO).images
    found = model.detect(images)[0]
    last, vector = model.trunk(model.prepare(images))
    codes = model.boxes(last, vector)[0, found.labels]
    assert len({tuple(code) for code in codes.tolist()}) == 3
    torch.testing.assert_close(found.boxes, decode_boxes(codes, (64, 64)))
    assert model.boxes.outputs_per_class == {"regress": 4}
    assert len({tuple(box) for box in build().eval().detect(images)[0].boxes.tolist()}) == 1


def test_of_several_objects_the_largest_is_learned() -> None:
    batch = bright((4, 8, 40, 30))
    own = batch.targets[0]
    others = torch.tensor([[0.0, 0, 10, 10], [0, 0, 64, 64], [0, 0, 64, 64]])
    several = Target(
        torch.cat([others, own.boxes]),
        torch.tensor([2, 1, 1, 0]),
        difficult=torch.tensor([False, True, False, False]),
        crowd=torch.tensor([False, False, True, False]),
    )
    model = build().eval()
    alone, crowded = model(batch), model(replace(batch, targets=(several,)))
    for name in ("class", "box"):
        torch.testing.assert_close(alone[name], crowded[name])


def test_images_without_objects_teach_nothing() -> None:
    batch = bright(*TWO)
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    model = build().eval()
    none = model(replace(batch, targets=(nothing, nothing)))
    torch.stack(list(none.values())).sum().backward()
    assert [loss.item() for loss in none.values()] == [0, 0]
    assert not any(value.grad.any() for value in model.parameters() if value.grad is not None)
    first = model(replace(batch, targets=(batch.targets[0], nothing)))
    alone = model(batch.part(0, 1))
    for name in ("class", "box"):
        torch.testing.assert_close(2 * first[name], alone[name])


def test_boxes_are_in_pixels_of_the_file_and_padding_changes_nothing() -> None:
    model = build().eval()
    one = bright((4, 8, 40, 30), size=(48, 80)).images
    padded = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    padded[0, :, :48, :80] = one.pixels[0]
    both = ImageBatch(padded, ((48, 80), (96, 96)), ((96, 160), (96, 96)))
    alone, beside = model.detect(one)[0], model.detect(both)[0]
    torch.testing.assert_close(beside.boxes, 2 * alone.boxes)
    torch.testing.assert_close(beside.scores, alone.scores)


def test_the_whole_image_is_warped_to_the_square() -> None:
    model = build()
    images = bright((4, 8, 40, 30), size=(48, 80)).images
    square = model.squares(model.prepare(images), images.sizes)
    assert square.shape == (1, 3, 64, 64)
    wanted = torch.nn.functional.interpolate(model.prepare(images), (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(square, wanted)


def test_it_guesses_as_many_classes_as_it_is_asked_for() -> None:
    found = build(num_classes=4, top=2).eval().detect(bright(*TWO).images)[0]
    assert len(found) == 2
    assert found.scores[0] >= found.scores[1]
