from __future__ import annotations

import pytest
import torch

from detkit.errors import UserError
from detkit.ops import boxes as box_ops
from tests.reference import overlaps

FUNCTIONS = {
    "pairwise_iou": overlaps.iou,
    "pairwise_ioa": lambda a, b: overlaps.intersection(a, b) / overlaps.area(a),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_overlaps_equal_the_reference(name: str) -> None:
    left, right = overlaps.random_boxes(13, 0), overlaps.random_boxes(7, 1)
    expected = torch.tensor([[FUNCTIONS[name](a, b) for b in right] for a in left], dtype=torch.float64)
    got = getattr(box_ops, name)(*(torch.tensor(side, dtype=torch.float64) for side in (left, right)))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_blocks_of_rows_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = (torch.tensor(overlaps.random_boxes(num, num)) for num in (10, 5))
    whole = getattr(box_ops, name)(left, right)
    monkeypatch.setattr(box_ops, "_BLOCK", 15)
    pairs, rows = getattr(box_ops, f"_{name[-3:]}"), []
    monkeypatch.setattr(box_ops, f"_{name[-3:]}", lambda a, b: (rows.append(len(a)), pairs(a, b))[1])
    assert torch.equal(getattr(box_ops, name)(left, right), whole)
    assert rows == [3, 3, 3, 1], "no more pairs at once than there is memory for"


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_empty_sides(name: str, rows: int, columns: int) -> None:
    assert getattr(box_ops, name)(torch.zeros(rows, 4), torch.zeros(columns, 4)).shape == (rows, columns)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_boxes_without_area_overlap_nothing(name: str) -> None:
    flat = torch.tensor([[3.0, 3.0, 3.0, 8.0], [8.0, 8.0, 2.0, 2.0]])
    assert torch.equal(getattr(box_ops, name)(flat, flat), torch.zeros(2, 2))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_shapes_are_named(name: str) -> None:
    with pytest.raises(UserError, match=r"boxes: expected .*\(N, 4\), got \(2, 5\)"):
        getattr(box_ops, name)(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(UserError, match=r"expected .*\(N, 4\), got \(2, 5\)"):
        getattr(box_ops, name)(torch.zeros(2, 4), torch.zeros(2, 5))


def test_double_stays_double() -> None:
    assert box_ops.pairwise_iou(torch.ones(1, 4).double(), torch.ones(1, 4).double()).dtype == torch.float64


def test_clip_takes_height_before_width() -> None:
    boxes = torch.tensor([[-1.0, -2.0, 500.0, 600.0], [10.0, 20.0, 30.0, 40.0], [300.0, 0.0, 400.0, 9.0]])
    expected = torch.tensor([[0.0, 0.0, 200.0, 100.0], [10.0, 20.0, 30.0, 40.0], [200.0, 0.0, 200.0, 9.0]])
    assert torch.equal(box_ops.clip(boxes, (100, 200)), expected)
    assert box_ops.clip(torch.zeros(0, 4), (1, 1)).shape == (0, 4)
    assert torch.equal(box_ops.clip(boxes[None], (100, 200))[0], expected)


def test_is_large_wants_both_sides() -> None:
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0], [0.0, 0.0, 4.9, 9.0], [0.0, 0.0, 9.0, 4.9]])
    assert box_ops.is_large(boxes, 5).tolist() == [True, False, False]
    assert box_ops.is_large(torch.zeros(0, 4), 5).shape == (0,)
