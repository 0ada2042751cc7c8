from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from detkit.errors import UserError
from detkit.inference.tiling import OVERLAP, Tiling, View, merge, views_of
from detkit.structures import Detections

TILING = Tiling(100, 0.5, 10)


@pytest.mark.parametrize("size", [(100, 101), (101, 100), (250, 999), (1000, 17), (333, 334)])
@pytest.mark.parametrize("tile", [16, 100, 333])
def test_tiles_cover_every_pixel_and_overlap_enough(size: tuple[int, int], tile: int) -> None:
    whole, *tiles = views_of(size, Tiling(tile, 0.5, 10))
    assert whole == View(0, 0, size[1], size[0])
    covered = np.zeros(size, dtype=int)
    for view in tiles:
        assert view.x2 - view.x1 == min(tile, size[1])
        assert view.y2 - view.y1 == min(tile, size[0])
        covered[view.y1 : view.y2, view.x1 : view.x2] += 1
    assert tiles == [] if max(size) <= tile else covered.min() >= 1
    columns = sorted({view.x1 for view in tiles})
    assert all(b - a <= tile * (1 - OVERLAP) + 1 for a, b in pairwise(columns))


def test_an_image_that_fits_a_tile_is_looked_at_once() -> None:
    assert views_of((100, 80), TILING) == [View(0, 0, 80, 100)]


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = torch.tensor([row[:5] for row in rows]).reshape(-1, 5)
    labels = torch.tensor([row[5] for row in rows], dtype=torch.int64)
    return Detections(table[:, :4], table[:, 4], labels)


def test_merging_moves_boxes_and_keeps_the_better_of_two_of_a_class() -> None:
    views = [View(0, 0, 150, 100), View(50, 0, 150, 100)]
    parts = [found((60, 10, 90, 40, 0.6, 0)), found((11, 10, 41, 40, 0.9, 0), (10, 10, 40, 40, 0.5, 1))]
    merged = merge(parts, views, (100, 150), TILING)
    assert merged.boxes.tolist() == [[61, 10, 91, 40], [60, 10, 90, 40]]
    assert merged.labels.tolist() == [0, 1]
    torch.testing.assert_close(merged.scores, torch.tensor([0.9, 0.5]))


def test_merging_moves_parts_with_their_boxes() -> None:
    views = [View(0, 0, 150, 100), View(50, 20, 150, 100)]
    parts = [found((60, 30, 90, 60, 0.6, 0)), found((11, 10, 41, 40, 0.9, 0))]
    placed = [torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor([[[-60.0, 12.0, 13.0, 24.0]]])]
    views_found = [replace(own, parts=own_parts) for own, own_parts in zip(parts, placed, strict=True)]
    merged = merge(views_found, views, (100, 150), TILING)
    assert merged.boxes.tolist() == [[61, 30, 91, 60]]
    assert merged.parts is not None
    assert merged.parts.tolist() == [[[-10, 32, 63, 44]]]


def test_pieces_at_a_cut_go_and_boxes_at_the_rim_of_the_image_stay() -> None:
    views = [View(0, 0, 150, 100), View(0, 0, 100, 100), View(50, 0, 150, 100)]
    piece, rim = (80, 10, 99, 40, 0.9, 0), (0, 60, 20, 100, 0.8, 0)
    parts = [found(), found(piece, rim), found((0.5, 10, 40, 40, 0.7, 1), (60, 0, 100, 30, 0.6, 1))]
    merged = merge(parts, views, (100, 150), TILING)
    assert merged.boxes.tolist() == [[0, 60, 20, 100], [110, 0, 150, 30]]


def test_at_most_so_many_detections_are_kept_best_first() -> None:
    rows = [(20.0 * i, 0, 20.0 * i + 10, 10, 0.1 + i / 100, 0) for i in range(20)]
    merged = merge([found(*rows)], [View(0, 0, 400, 50)], (50, 400), TILING)
    assert len(merged) == 10
    torch.testing.assert_close(merged.scores, torch.tensor([0.1 + i / 100 for i in range(19, 9, -1)]))


def test_nothing_found_anywhere_is_nothing() -> None:
    assert len(merge([found(), found()], [View(0, 0, 9, 9), View(0, 0, 9, 9)], (9, 9), TILING)) == 0


def test_a_tile_has_sixteen_pixels_at_least() -> None:
    assert Tiling(16, 0.5, 100).size_px == 16
    with pytest.raises(UserError, match=r"^a tile must be at least 16 pixels wide; found 15$"):
        Tiling(15, 0.5, 100)


@pytest.mark.parametrize(
    ("side", "spans"),
    [
        (100, [(0, 100)]),
        (101, [(0, 100), (1, 101)]),
        (175, [(0, 100), (75, 175)]),  # as much as two can cover with a quarter in common
        (176, [(0, 100), (38, 138), (76, 176)]),
    ],
)
def test_there_are_no_more_tiles_than_needed(side: int, spans: list[tuple[int, int]]) -> None:
    tiles = views_of((60, side), Tiling(100, 0.5, 100))
    assert [(view.x1, view.x2) for view in tiles[1:] or tiles] == spans
    assert {(view.y1, view.y2) for view in tiles} == {(0, 60)}


@pytest.mark.parametrize(("gap", "kept"), [(1.9, False), (2.0, True)])
@pytest.mark.parametrize("side", range(4))
def test_a_piece_is_what_ends_within_two_pixels_of_a_cut(side: int, gap: float, kept: bool) -> None:
    view = View(100, 100, 200, 200)
    box = [40.0, 40.0, 60.0, 60.0]
    box[side] = gap if side < 2 else 100 - gap
    part = Detections(torch.tensor([box]), torch.tensor([0.5]), torch.tensor([1]))
    found = merge([part], [view], (300, 300), Tiling(100, 0.5, 100))
    assert len(found) == kept
    if kept:
        assert found.boxes.tolist() == [[value + 100 for value in box]]
