"""Which objects anchors and regions stand for, with difficult objects and crowds; weights of the losses."""

from __future__ import annotations

import pytest
import torch

from detkit.models.assignment import assign, loss_weights
from detkit.ops.matching import BACKGROUND, IGNORED
from detkit.structures import Target

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4], [50, 50, 60, 60]])


def target(difficult: bool, crowd: bool, box: tuple[float, ...] = (0, 0, 10, 10)) -> Target:
    return Target(torch.tensor([box]), torch.tensor([1]), torch.tensor([difficult]), torch.tensor([crowd]))


def assigned(own: Target, crowd_iou: float = 0.7, force: bool = False) -> list[int]:
    return assign(BOXES, own, fg_iou=0.7, bg_iou=(0.0, 0.5), force=force, crowd_iou=crowd_iou).tolist()


def test_ordinary_objects() -> None:
    assert assigned(target(False, False)) == [0, IGNORED, BACKGROUND, BACKGROUND]


def test_difficult_objects_are_neither_matched_nor_background() -> None:
    assert assigned(target(True, False)) == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]
    assert assigned(target(True, False), force=True) == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_what_lies_in_a_crowd_is_not_background() -> None:
    crowd = target(False, True, (0, 0, 10, 5))
    assert assigned(crowd) == [BACKGROUND, IGNORED, IGNORED, BACKGROUND]
    assert assigned(crowd, crowd_iou=0.4) == [IGNORED, IGNORED, IGNORED, BACKGROUND]
    assert assigned(crowd, crowd_iou=1.0) == [BACKGROUND] * 4


def test_positives_stay_positive_on_a_difficult_object() -> None:
    both = Target(
        torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10]]),
        torch.tensor([0, 1]),
        torch.tensor([True, False]),
        torch.tensor([False, False]),
    )
    assert assigned(both) == [1, IGNORED, BACKGROUND, BACKGROUND]


@pytest.mark.parametrize("force", [False, True])
def test_parts_change_nothing(force: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 40
    boxes = torch.cat([corners, corners + 4 + 20 * torch.rand(60, 2, generator=generator)], dim=1)
    flags = torch.arange(9) % 4
    own = Target(boxes[:9] + 3, torch.zeros(9, dtype=torch.int64), flags == 1, flags == 2)

    def found() -> list[int]:
        return assign(boxes, own, fg_iou=0.5, bg_iou=(0.0, 0.3), force=force, crowd_iou=0.7).tolist()

    whole = found()
    assert len(set(whole)) > 2
    for pairs in (1, 50, 500):
        monkeypatch.setattr("detkit.models.assignment._MOST_PAIRS", pairs)
        assert found() == whole


def test_no_objects() -> None:
    assert assigned(Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))) == [BACKGROUND] * 4


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("sampled", [1 / 2, 1 / 4, 1 / 4]),
        ("batch_size", [1 / 16] * 3),
        ("batch", [1 / 3] * 3),
    ],
)
def test_weights_of_the_losses(how: str, wanted: list[float]) -> None:
    weights = loss_weights([1, 2], how, 8, torch.device("cpu"))  # type: ignore[arg-type]
    torch.testing.assert_close(weights, torch.tensor(wanted))


@pytest.mark.parametrize("how", ["sampled", "batch_size", "batch"])
def test_images_without_any_drawn(how: str) -> None:
    assert len(loss_weights([0, 0], how, 8, torch.device("cpu"))) == 0  # type: ignore[arg-type]
    assert torch.isfinite(loss_weights([0, 3], how, 8, torch.device("cpu"))).all()  # type: ignore[arg-type]
