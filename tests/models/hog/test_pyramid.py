from __future__ import annotations

import numpy as np
import torch

from detkit.models.hog.descriptor import HOG, hog_blocks
from detkit.models.hog.pyramid import Level, Pyramid, levels_of, matches, resized, window_margins
from tests.models.hog.test_descriptor import picture


def test_copies_are_made_while_the_window_fits() -> None:
    pyramid = Pyramid(scale_step=1.5)
    # 150 / 1.5 = 100, 150 / 2.25 = 66.67 is 67, 150 / 3.375 = 44.4; the window is 64 high.
    assert pyramid.scales((150, 150), (64, 32)) == [1.0, 1.5, 2.25]
    assert pyramid.scales((30, 30), (64, 32)) == [1.0]
    assert len(Pyramid(max_levels=2).scales((999, 999), (16, 16))) == 2


def test_margins_are_products_of_the_windows_blocks() -> None:
    blocks = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    template = np.random.default_rng(1).normal(size=(4, 3, 2)).astype(np.float32)
    found = window_margins(blocks, torch.from_numpy(template), 0.25)
    assert found.shape == (4, 4)
    for row in range(4):
        for column in range(4):
            window = blocks[row : row + 3, column : column + 2]
            expected = sum(float(window[y, x] @ template[:, y, x]) for y in range(3) for x in range(2))
            np.testing.assert_allclose(found[row, column], expected + 0.25, rtol=1e-4, atol=1e-5)
    assert window_margins(blocks[:2], torch.from_numpy(template), 0.0).size == 0


def test_features_of_a_window_are_what_its_margin_is_made_of() -> None:
    level = Level(1.0, np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32), 0, 8)
    template = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    [(_, places, margins)] = matches([level], template, 0.5, 1, above=0.0)
    assert len(places)
    features = level.features(places, (3, 2)).reshape(len(places), -1)
    np.testing.assert_allclose(features @ template.numpy().ravel() + 0.5, margins, rtol=1e-4, atol=1e-5)
    everything = next(matches([level], template, 0.5, 1, above=-np.inf))
    assert len(everything[1]) == 16
    assert (everything[2] >= 0).sum() == len(places)


def test_boxes_are_rounded_as_a_whole_and_begin_in_the_padding() -> None:
    level = Level(1.1, np.zeros((9, 9, 36), np.float32), -8, 8)
    # Row 2, column 1: y = 8, x = 0 in the copy; 128 * 1.1 = 140.8 and 64 * 1.1 = 70.4.
    boxes = level.boxes(np.array([[2, 1], [0, 0]]), (128, 64))
    assert boxes.tolist() == [[0, 9, 70, 150], [-9, -9, 61, 132]]


def test_levels_hold_the_blocks_of_each_copy() -> None:
    pixels = picture(40, 60)
    levels = levels_of(pixels, HOG(), Pyramid(scale_step=1.5, padding_px=5), (24, 24))
    assert [level.scale for level in levels] == [1.0, 1.5]
    assert [level.start_px for level in levels] == [-8, -8]  # 5 pixels of padding are a stride
    np.testing.assert_array_equal(levels[1].blocks, hog_blocks(resized(pixels, 1.5), HOG(), 8))
    assert resized(pixels, 1.5).shape == (27, 40, 3)
