"""Key points: learned beside the box, refined by crops, and left alone where nobody labelled them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from detkit.config.load import load_config
from detkit.detectors.builder import build_detector
from detkit.detectors.localizer.config import LocalizerConfig
from detkit.detectors.localizer.model import Localizer
from detkit.errors import UserError
from detkit.structures import ImageBatch, Target, TrainBatch
from detkit.workflows.train import train

NAMES = ("tip", "left", "tail")
BOXES = ((4.0, 8.0, 40.0, 30.0), (20.0, 30.0, 60.0, 62.0))


def spec(**more: Any) -> LocalizerConfig:
    points = {"names": NAMES, **more.pop("keypoints", {})}
    return LocalizerConfig.model_validate(
        {
            "type": "localizer",
            "backbone": {"type": "resnet", "depth": 18, "width": 0.125, "norm": "frozen"},
            "size_px": 64,
            "dropout": 0.0,
            "regression": {"channels": 32, **more.pop("regression", {})},
            "keypoints": points,
        }
    )


def build(num_classes: int = 2, **more: Any) -> Localizer:
    model = build_detector(spec(**more), num_classes, 0)
    assert isinstance(model, Localizer)
    return model


def batch() -> TrainBatch:
    """Two images with a bright box each; its points are two corners and the middle, one unlabelled."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 80, (2, 3, 64, 64), generator=noise, dtype=torch.uint8)
    targets = []
    for number, (image, (x1, y1, x2, y2)) in enumerate(zip(pixels, BOXES, strict=True)):
        image[number, int(y1) : int(y2), int(x1) : int(x2)] = 250
        points = [[x1, y1, 2], [x2, y1, 1], [(x1 + x2) / 2, (y1 + y2) / 2, 2 if number else 0]]
        own = Target.of(torch.tensor([[x1, y1, x2, y2]]), torch.tensor([number]), number)
        targets.append(replace(own, keypoints=torch.tensor([points]), mirrored=(0, 1, 2)))
    sizes = ((64, 64), (64, 64))
    return TrainBatch(ImageBatch(pixels, sizes, sizes), tuple(targets))


@pytest.mark.parametrize("more", [{}, {"regression": {"class_agnostic": False}}])
def test_overfits_two_images_with_a_cascade(more: dict[str, Any]) -> None:
    model, two = build(keypoints={"stages": 2}, **more), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    for step in range(70):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (0.2 if step > 45 else 1)
        optimizer.zero_grad()
        torch.stack(list(model(replace(two, seed=step)).values())).sum().backward()
        optimizer.step()
    for found, target in zip(model.eval().detect(two.images), two.targets, strict=True):
        assert found.labels[0] == target.labels[0]
        assert found.keypoints is not None
        assert target.keypoints is not None
        shows = target.keypoints[0, :, 2] > 0
        away = (found.keypoints[0] - target.keypoints[0, :, :2]).norm(dim=1)
        assert away[shows].max() < 5


def test_the_first_loss_is_that_of_the_formula() -> None:
    """The mean over images of the mean over labelled points of the squared distance in sides, by hand."""
    model, two = build(keypoints={"loss_weight": 4.0}).eval(), batch()
    assert model.keypoints is not None
    codes = model.keypoints.first(*model.trunk(model.prepare(two.images)))[:, 0].view(2, 3, 2).tolist()
    of_images = []
    for target, own in zip(two.targets, codes, strict=True):
        assert target.keypoints is not None
        squares = [
            (x / 64 - 0.5 - code[0]) ** 2 + (y / 64 - 0.5 - code[1]) ** 2
            for (x, y, seen), code in zip(target.keypoints[0].tolist(), own, strict=True)
            if seen
        ]
        of_images.append(sum(squares) / len(squares))
    losses = model(two)
    assert set(losses) == {"class", "box", "keypoints1"}
    assert losses["keypoints1"].item() == pytest.approx(4 * sum(of_images) / 2, rel=1e-4)


def test_points_that_nobody_labelled_teach_nothing() -> None:
    model, two = build(keypoints={"stages": 2}).eval(), batch()
    before = model(two)
    assert two.targets[0].keypoints is not None
    moved = two.targets[0].keypoints.clone()
    moved[0, 2] = torch.tensor([50.0, 3.0, 0.0])
    other = model(replace(two, targets=(replace(two.targets[0], keypoints=moved), two.targets[1])))
    for name in ("keypoints1", "keypoints2"):
        torch.testing.assert_close(before[name], other[name])
    unlabelled = tuple(
        replace(target, keypoints=torch.zeros_like(target.keypoints))  # type: ignore[arg-type]
        for target in two.targets
    )
    none = model(replace(two, targets=unlabelled))
    without = model(replace(two, targets=tuple(replace(one, keypoints=None) for one in two.targets)))
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    empty = model(replace(two, targets=(nothing, nothing)))
    for losses in (none, without, empty):
        assert losses["keypoints1"].item() == losses["keypoints2"].item() == 0
        torch.stack(list(losses.values())).sum().backward()
    assert all(value.grad is not None for value in model.parameters())


def test_the_chance_of_a_crop_depends_on_seed_and_image_alone() -> None:
    model, two = build(keypoints={"stages": 3}).eval(), batch()
    whole = model(two)
    assert model(two)["keypoints3"] == whole["keypoints3"]
    assert model(replace(two, seed=1))["keypoints2"] != whole["keypoints2"]
    alone = [model(two.part(i, i + 1)) for i in range(2)]
    for name in ("keypoints1", "keypoints2", "keypoints3"):
        torch.testing.assert_close(whole[name], (alone[0][name] + alone[1][name]) / 2, rtol=1e-3, atol=1e-5)


def test_crops_are_squares_around_their_points() -> None:
    """A crop as large as its pixels is a piece of the image, and what lies beyond the image is 0."""
    cascade = build(keypoints={"stages": 2}).keypoints
    assert cascade is not None
    image = torch.rand(1, 3, 100, 120)
    cuts = cascade._crops(image, torch.tensor([[[40.0, 50.0], [100.0, 90.0]]]), torch.tensor([64.0]))
    torch.testing.assert_close(cuts[0, 0], image[0, :, 18:82, 8:72], rtol=0, atol=1e-4)
    torch.testing.assert_close(cuts[0, 1, :, :42, :52], image[0, :, 58:100, 68:120], rtol=0, atol=1e-4)
    assert not cuts[0, 1, :, 42:].any()
    assert not cuts[0, 1, :, :, 52:].any()


def test_refined_points_go_the_way_that_each_stage_says() -> None:
    """A refiner that says (0.25, -0.5) of every point moves each by so many sides of its crop."""
    model = build(keypoints={"stages": 3, "crop_scale": 0.5})
    assert model.keypoints is not None
    for refiner in model.keypoints.refiners:
        last = refiner.head.regress
        torch.nn.init.zeros_(last.weight)
        ways = torch.zeros(3, 3, 2)  # of each point in the middle, the way to every point
        for own in range(3):
            ways[:, own] = torch.tensor([0.25, -0.5])
        last.bias.data = ways[0].flatten()
    boxes, points = torch.tensor([[0.0, 0, 40, 16], [10, 10, 20, 42]]), torch.rand(2, 3, 2) * 60
    moved = model.eval().keypoints.refine(torch.rand(2, 3, 64, 64), points, boxes)
    sides = torch.tensor([20.0, 16.0])[:, None, None]
    torch.testing.assert_close(moved, points + 2 * sides * torch.tensor([0.25, -0.5]))


def test_each_point_takes_the_way_of_its_own() -> None:
    model = build(keypoints={"stages": 2})
    assert model.keypoints is not None
    refiner = model.keypoints.refiners[0]
    torch.nn.init.zeros_(refiner.head.regress.weight)
    refiner.head.regress.bias.data = torch.tensor([1.0, 2, 3, 4, 5, 6])
    assert refiner(torch.rand(2, 3, 3, 64, 64)).tolist() == [[[1, 2], [3, 4], [5, 6]]] * 2


def test_points_are_in_pixels_of_the_file() -> None:
    model = build(keypoints={"stages": 2}).eval()
    images = batch().images
    large = replace(images, originals=((128, 192), (64, 64)))
    alone, scaled = model.detect(images)[0], model.detect(large)[0]
    assert alone.keypoints is not None
    assert scaled.keypoints is not None
    assert alone.keypoints.shape == (2, 3, 2)
    torch.testing.assert_close(
        scaled.keypoints, alone.keypoints * torch.tensor([3.0, 2.0]), rtol=1e-3, atol=1e-2
    )


def test_names_that_are_not_the_datasets_are_refused(tmp_path: Path) -> None:
    small = ["data.train.of.num_images=2", "data.val=null", "device=cpu"]
    other = load_config(
        "localizer_resnet18_synthetic_keypoints",
        [*small, "detector.keypoints.names=[left, tip, tail, right]"],
    )
    with pytest.raises(UserError, match="training set has these, in this order: tip, left, tail, right"):
        train(other, out=tmp_path / "other")
    none = load_config("localizer_resnet18_synthetic_keypoints", [*small, "data.classes=[disc, star]"])
    with pytest.raises(UserError, match="the training set has no key points"):
        train(none, out=tmp_path / "none")
    with pytest.raises(ValidationError, match="more than once"):
        spec(keypoints={"names": ("tip", "tip")})


def test_a_refiner_learns_the_way_back_from_where_its_crop_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says (true - middle of the crop) / side of the crop has no loss."""
    cascade = build(keypoints={"stages": 2, "crop_scale": 0.5}).keypoints
    assert cascade is not None
    points, boxes = torch.rand(2, 3, 3) * 30 + 20, torch.tensor([[0.0, 0, 40, 16], [10, 10, 20, 42]])
    seen: list[torch.Tensor] = []

    def way_back(_: Any, centres: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
        seen.extend((centres, sides))
        return (points[:, :, :2] - centres) / sides[:, None, None]

    monkeypatch.setattr(cascade, "_crops", way_back)
    cascade.refiners = torch.nn.ModuleList([torch.nn.Identity()])
    sizes = [(64, 64)] * 2
    losses = cascade.losses(
        torch.zeros(2, 3, 2),
        torch.rand(2, 3, 64, 64),
        sizes,
        points,
        boxes,
        [1, 2],
        lambda a, b: (a - b) ** 2,
    )
    assert losses[0] > 0
    assert losses[1].item() == pytest.approx(0, abs=1e-9)
    assert seen[1].tolist() == [20, 16]
    assert (seen[0] - points[:, :, :2]).abs().max() > 0.1
