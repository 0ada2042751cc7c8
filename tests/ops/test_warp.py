from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.errors import UserError
from detkit.ops.warp import Cuts, gathered, plan_warp, warp
from tests.reference.warp import crop

MEAN = (123.0, 116.5, 104.25)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
# Inside, at each border, in a corner, one pixel, larger than the output, the whole image; inclusive, from 1.
BOXES = (
    (11, 9, 30, 20),
    (1, 9, 12, 30),
    (40, 5, 53, 30),
    (20, 1, 30, 4),
    (20, 30, 33, 37),
    (45, 33, 53, 37),
    (7, 8, 7, 8),
    (2, 2, 51, 36),
    (1, 1, 53, 37),
)


def continuous(boxes: tuple[tuple[int, int, int, int], ...]) -> np.ndarray:
    return np.array(boxes, dtype=np.float64) - np.array([1, 1, 0, 0])


def cuts_of(boxes: tuple[tuple[int, int, int, int], ...], size: int, context: int, square: bool) -> Cuts:
    plan = plan_warp(continuous(boxes), IMAGE.shape[:2], size, context, square=square)
    return Cuts.in_image(plan, IMAGE.shape[1])


@pytest.mark.parametrize("way", ["loops", "gathered"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize(("size", "context"), [(23, 2), (16, 0), (40, 7)])
def test_crops_are_those_of_the_paper(way: str, flip: bool, square: bool, size: int, context: int) -> None:
    cuts = cuts_of(BOXES, size, context, square)
    cuts.flipped[:] = flip
    table, mean, std = torch.from_numpy(IMAGE).view(-1, 3), torch.tensor(MEAN), torch.ones(3)
    crops = (warp if way == "loops" else gathered)(table, cuts, size, mean, std)
    assert crops.shape == (len(BOXES), 3, size, size)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    for found, box in zip(crops, BOXES, strict=True):
        expected = crop(IMAGE, box, size, context, square, flip, MEAN)
        np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=2e-3)


# size 227 and 16 pixels of context, in an image of 500 x 375; by hand from the paper's rules.
HAND = [
    # scale 227/195: half 50 -> 58.205; 151 +- 58.205 rounds to 93 and 209
    ((101, 101, 200, 200), False, (92, 92, 117, 117), (0, 0, 227, 227)),
    # x: half 10 -> 11.641, centre 11: -0.641 and 22.641 round to -1 and 23, width 25; 2 lie outside on the
    # left, 2 * 9.08 rounds to 18 of the output, 23 * 9.08 to 209
    ((1, 101, 20, 200), False, (0, 92, 23, 117), (18, 0, 209, 227)),
    # square: the half 50 of the height holds for both; x: 11 +- 58.205 rounds to -47 and 69, width 117;
    # 48 * 227 / 117 rounds to 93, 69 * 227 / 117 to 134
    ((1, 101, 20, 200), True, (0, 92, 69, 117), (93, 0, 134, 227)),
    # x: half 25, centre 476: 446.897 and 505.103 round to 447 and 505, width 59; 54 are inside: 207.76
    ((451, 101, 500, 200), False, (446, 92, 54, 117), (0, 0, 208, 227)),
]


@pytest.mark.parametrize(("box", "square", "source", "place"), HAND)
def test_plans_worked_out_by_hand(
    box: tuple[int, int, int, int], square: bool, source: tuple[int, ...], place: tuple[int, ...]
) -> None:
    plan = plan_warp(continuous((box,)), (375, 500), 227, 16, square=square)
    assert tuple(plan.sources[0]) == source
    assert tuple(plan.places[0]) == place


def test_halves_are_rounded_away_from_zero() -> None:
    # No context, so the edges are centre +- half: 3 - 2.5 = 0.5 and -0.5 + ... of a box from 0.5 to 5.5.
    plan = plan_warp(np.array([[-2.5, 0.5, 2.5, 5.5]]), (20, 20), 10, 0, square=False)
    # x: 1-based centre 1, edges -1.5 -> -2 and 3.5 -> 4; y: centre 4, edges 1.5 -> 2 and 6.5 -> 7
    assert plan.sources.tolist() == [[0, 1, 4, 6]]
    assert plan.places.tolist() == [[4, 0, 6, 10]]  # 3 of 7 outside: 4.29 -> 4; 4 of 7: 5.71 -> 6


def test_of_a_large_box_that_ends_in_the_image_the_last_pixel_of_the_crop_is_left() -> None:
    # 1-based -98 to 1: 99 of 100 pixels lie outside, 9.9 of the crop's 10, which round to all of them
    plan = plan_warp(np.array([[-99.0, -99.0, 1.0, 1.0]]), (40, 40), 10, 0, square=False)
    assert plan.places.tolist() == [[9, 9, 1, 1]]


def test_no_boxes_give_no_crops_and_memory_can_be_used_again() -> None:
    table, ones = torch.from_numpy(IMAGE).view(-1, 3), torch.ones(3)
    nothing = Cuts.in_image(plan_warp(np.zeros((0, 4)), IMAGE.shape[:2], 8, 1, square=False), 53)
    assert warp(table, nothing, 8, ones, ones).shape == (0, 3, 8, 8)
    cuts, kept = cuts_of(BOXES, 8, 1, False), torch.full((20, 8, 8, 3), torch.nan)
    crops = warp(table, cuts, 8, ones, ones, out=kept)
    assert crops.data_ptr() == kept.data_ptr()
    assert torch.equal(crops, warp(table, cuts, 8, ones, ones))


def test_bad_input_is_refused() -> None:
    table, ones, cuts = torch.from_numpy(IMAGE).view(-1, 3), torch.ones(3), cuts_of(BOXES, 8, 1, False)
    with pytest.raises(UserError, match="beyond"):
        warp(table[:-1], cuts, 8, ones, ones)
    with pytest.raises(UserError, match=r"\(P, 3\)"):
        warp(table.view(-1), cuts, 8, ones, ones)
    with pytest.raises(UserError, match="leave nothing"):
        plan_warp(np.zeros((1, 4)), (9, 9), 32, 16, square=False)
