"""Offset pooling as the paper says it, and windows one by one beside all at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.detectors.overfeat.windows import OffsetPool, WindowLayers

CHANNELS, OUTPUTS = 3, 4


def maps(rows: int, columns: int) -> Tensor:
    return torch.rand((2, CHANNELS, rows, columns), generator=torch.Generator().manual_seed(0)) - 0.5


def layers(cells: int, dropout: float = 0.0) -> WindowLayers:
    torch.manual_seed(0)
    made = WindowLayers(CHANNELS, cells, channels=(7, 6), outputs=OUTPUTS, dropout=dropout)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made.eval()


def classified(network: WindowLayers, pooled: Tensor) -> Tensor:
    """Classify the windows of one pooled map, one after another, by products of matrices."""
    cells = network.cells
    rows, columns = (side - cells + 1 for side in pooled.shape[2:])
    found = torch.empty((len(pooled), rows, columns, OUTPUTS))
    for y in range(rows):
        for x in range(columns):
            out = pooled[:, :, y : y + cells, x : x + cells].reshape(len(pooled), -1)
            for layer in (network.fc6, network.fc7):
                out = (out @ layer.weight.T + layer.bias).clamp(min=0)
            found[:, y, x] = out @ network.output.weight.T + network.output.bias
    return found


@pytest.mark.parametrize(("size", "stride", "cells"), [(3, 3, 5), (3, 2, 6), (2, 2, 2), (1, 1, 3)])
@torch.no_grad()
def test_the_offsets_are_pooled_classified_and_interleaved(size: int, stride: int, cells: int) -> None:
    pool, network, given = OffsetPool(size, stride, cells), layers(cells), maps(19, 22)
    expected = torch.full((2, 20 - pool.span, 23 - pool.span, OUTPUTS), torch.nan)
    for dy in range(stride):
        for dx in range(stride):
            pooled = F.max_pool2d(given[:, :, dy:, dx:], size, stride)
            expected[:, dy::stride, dx::stride] = classified(network, pooled)
    assert pool.places((19, 22)) == tuple(expected.shape[1:3])
    # Sums of other orders: how far they differ depends on the processor.
    torch.testing.assert_close(network.everywhere(pool(given), pool.dilation), expected, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_the_paper_s_map_of_17_cells_has_nine_windows_and_one_of_the_first_offset() -> None:
    fine, coarse, network, given = OffsetPool(), OffsetPool(fine=False), layers(5), maps(17, 20)
    assert fine.span == coarse.span == 15
    all_of_them = network.everywhere(fine(given), fine.dilation)
    first = network.everywhere(coarse(given), coarse.dilation)
    assert (tuple(all_of_them.shape[1:3]), tuple(first.shape[1:3])) == ((3, 6), (1, 2))
    torch.testing.assert_close(first, all_of_them[:, ::3, ::3])
    assert coarse.places((17, 20)) == (1, 2)


@pytest.mark.parametrize("fine", [True, False])
@torch.no_grad()
def test_windows_that_are_cut_out_are_those_of_the_convolutions(fine: bool) -> None:
    pool, network, given = OffsetPool(3, 2, 3, fine), layers(3), maps(14, 12)
    pooled = pool(given)
    y, x = torch.tensor([0, 2, 1, 2]), torch.tensor([1, 0, 1, 2])
    found = network(pool.cut(pooled[1], y, x))
    torch.testing.assert_close(found, network.everywhere(pooled, pool.dilation)[1, y, x])


@torch.no_grad()
def test_a_map_that_is_too_small_goes_on_as_zeros() -> None:
    pool, network, given = OffsetPool(2, 2, 3), layers(3), maps(4, 9)
    assert (pool.places((4, 9)), pool.places((9, 4))) == ((1, 4), (4, 1))
    whole = F.pad(given, (0, 0, 0, 2))
    torch.testing.assert_close(network.everywhere(pool(given), 2), network.everywhere(pool(whole), 2))


def test_dropout_is_of_the_windows_that_train() -> None:
    network, given = layers(2, dropout=0.5), maps(6, 6)
    pooled = OffsetPool(2, 2, 2)(given)
    network.train()
    windows = OffsetPool(2, 2, 2).cut(pooled[0], torch.zeros(50).long(), torch.zeros(50).long())
    assert len(network(windows).unique(dim=0)) > 10
    dense = network.everywhere(pooled, 2)
    assert torch.equal(dense, network.eval().everywhere(pooled, 2))
    torch.testing.assert_close(network(windows[:1])[0], dense[0, 0, 0])
