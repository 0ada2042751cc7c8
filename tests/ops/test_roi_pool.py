from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from detkit.errors import UserError
from detkit.ops.roi_pool import roi_pool
from tests.reference import roi_features

SCALE = 1 / 8

# In pixels of a map of 9 x 12 cells of 8 px: usual, tiny, exactly half cells (also negative), larger than
# the map, half and wholly outside, with swapped corners.
BOXES = torch.tensor([
    [10.0, 12.0, 50.0, 60.0], [20.3, 30.7, 22.1, 31.0], [4.0, 12.0, 20.0, 28.0], [-4.0, -12.0, 36.0, 44.0],
    [-40.0, -50.0, 200.0, 180.0], [70.0, 50.0, 130.0, 95.0], [-90.0, -90.0, -40.0, -40.0],
    [300.0, 10.0, 400.0, 60.0], [50.0, 40.0, 20.0, 10.0], [0.0, 0.0, 95.0, 71.0],
])  # fmt: skip
IMAGE = torch.arange(len(BOXES)) % 2


def maps(channels: int = 5, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    # Rounded, so that maxima tie and the first of them matters to the gradient.
    values = torch.randn(2, channels, 9, 12, generator=torch.Generator().manual_seed(seed)).mul(4).round() / 4
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def peer(features: Tensor, size: int) -> Tensor:
    return torchvision.ops.roi_pool(
        features, torch.cat((IMAGE[:, None], BOXES), dim=1).to(features), size, SCALE
    )


@pytest.mark.parametrize("size", [1, 3, 7])
def test_equals_the_reference(size: int) -> None:
    features = maps(2)
    got = roi_pool(features, BOXES, IMAGE, SCALE, size)
    for region, (box, image) in enumerate(zip(BOXES.tolist(), IMAGE.tolist(), strict=True)):
        for channel in range(2):
            expected = roi_features.roi_pool(features[image, channel].tolist(), box, SCALE, size)
            assert got[region, channel].tolist() == expected


@pytest.mark.parametrize("size", [1, 3, 7])
def test_gradient_equals_the_reference_where_maxima_tie_and_bins_are_empty(size: int) -> None:
    features = maps(2).double().requires_grad_()
    features.data.round_()  # a handful of values: nearly every bin has several maxima
    got = roi_pool(features, BOXES.double(), IMAGE, SCALE, size)
    weights = torch.randint(-9, 10, got.shape, generator=torch.Generator().manual_seed(1)).double()
    (gradient,) = torch.autograd.grad(got, features, weights)
    expected = [[[[0.0] * 12 for _ in range(9)] for _ in range(2)] for _ in range(2)]
    for region, (box, image) in enumerate(zip(BOXES.tolist(), IMAGE.tolist(), strict=True)):
        for channel in range(2):
            roi_features.add_roi_pool_gradient(
                expected[image][channel],
                features[image, channel].tolist(),
                box,
                SCALE,
                weights[region, channel].tolist(),
            )
    assert gradient.tolist() == expected


@pytest.mark.parametrize(("edge", "cell"), [(3.9, 0), (4.0, 1), (11.9, 1), (12.0, 2), (20.0, 3), (-4.0, -1)])
def test_edges_are_rounded_half_away_from_zero(edge: float, cell: int) -> None:
    """Half to even would put 4 px of 8 px cells on cell 0 and 20 px on cell 2."""
    assert roi_features.round_half_away(edge * SCALE) == cell
    column = torch.arange(12.0).expand(1, 1, 9, 12)
    box = torch.tensor([[edge, 0.0, edge, 0.0]])  # one cell wide: its number comes out
    assert roi_pool(column, box, torch.tensor([0]), SCALE, 1).item() == max(cell, 0)


@pytest.mark.parametrize("channels", [1, 37, 200])
def test_equals_torchvision_with_gradient(channels: int) -> None:
    features = maps(channels).requires_grad_()
    got, expected = roi_pool(features, BOXES, IMAGE, SCALE, 6), peer(features, 6)
    assert torch.equal(got, expected)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(out, features, weights)[0] for out in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_many_random_boxes_equal_torchvision_bit_by_bit() -> None:
    draw = torch.Generator().manual_seed(2)
    centre, sides = torch.rand(500, 2, generator=draw) * 100, torch.rand(500, 2, generator=draw) * 60
    boxes = torch.cat((centre - sides, centre + sides), dim=1)
    boxes[::2] = (boxes[::2] / 4).round() * 4  # edges at halves of cells
    features, image = torch.randn(1, 3, 9, 12, generator=draw), torch.zeros(500, dtype=torch.int64)
    expected = torchvision.ops.roi_pool(features, torch.cat((image[:, None], boxes), dim=1), 7, SCALE)
    assert torch.equal(roi_pool(features, boxes, image, SCALE, 7), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    features = maps(33, dtype).requires_grad_()
    exact = features.detach().float().requires_grad_()
    got, expected = (roi_pool(each, BOXES, IMAGE, SCALE, 4) for each in (features, exact))
    assert got.dtype == dtype
    assert torch.equal(got.float(), expected)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    (gradient,) = torch.autograd.grad(got, features, weights)
    (wanted,) = torch.autograd.grad(expected, exact, weights.float())
    assert torch.equal(gradient, wanted.to(dtype))


def test_any_layout_gives_the_same() -> None:
    features = maps()
    for other in (features.contiguous(), features.repeat(1, 1, 1, 2)[..., :12]):
        got = roi_pool(other, BOXES, IMAGE, SCALE, 3)
        assert torch.equal(got, roi_pool(features, BOXES, IMAGE, SCALE, 3))
        assert got.is_contiguous(memory_format=torch.channels_last)


def test_threads_and_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = maps(50, torch.bfloat16).requires_grad_()
    boxes, image = BOXES.repeat(9, 1), IMAGE.repeat(9)
    results = []
    for threads, channels in ((1, 128), (3, 16), (2, 7)):
        monkeypatch.setattr("detkit.ops.roi_pool._CHANNELS_AT_ONCE", channels)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        out = roi_pool(features, boxes, image, SCALE, 3)
        (gradient,) = torch.autograd.grad(out.float().square().sum(), features)
        torch.set_num_threads(before)
        results.append((out, gradient))
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_gradients() -> None:
    values = torch.randperm(2 * 9 * 12, generator=torch.Generator().manual_seed(0))  # no ties
    features = values.reshape(2, 1, 9, 12).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: roi_pool(f, BOXES.double(), IMAGE, SCALE, 2), (features,))


def test_wild_boxes_are_finite() -> None:
    wild = torch.tensor(
        [[0.0, 0.0, float("nan"), 9.0], [-1e30, 0.0, 1e30, 9.0], [0.0, 0.0, float("inf"), 9.0]]
    )
    assert roi_pool(maps(), wild, torch.zeros(3, dtype=torch.int64), SCALE, 2).isfinite().all()


def test_no_regions_and_no_maps() -> None:
    features = maps().requires_grad_()
    nothing = roi_pool(features, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SCALE, 7)
    assert nothing.shape == (0, 5, 7, 7)
    (gradient,) = torch.autograd.grad(nothing.sum(), features)
    assert torch.equal(gradient, torch.zeros_like(features))
    assert roi_pool(torch.zeros(1, 5, 0, 3), torch.ones(1, 4), torch.tensor([0]), SCALE, 2).eq(0).all()


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="image: expected indices from 0 to 1, got 0 to 2"):
        roi_pool(maps(), torch.zeros(2, 4), torch.tensor([0, 2]), SCALE, 7)
    with pytest.raises(UserError, match=r"boxes: expected .*\(R, 4\), got \(1, 5\)"):
        roi_pool(maps(), torch.zeros(1, 5), torch.tensor([0]), SCALE, 7)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
def test_the_operator_is_what_it_says() -> None:
    sample = (maps(3).requires_grad_(), BOXES * SCALE, IMAGE, 3)
    torch.library.opcheck(torch.ops.detkit.roi_pool.default, sample)


@pytest.mark.slow
def test_compiles_to_the_same() -> None:
    features = maps(3).requires_grad_()

    def pooled(values: Tensor) -> Tensor:
        return (roi_pool(values * 2, BOXES, IMAGE, SCALE, 3) ** 2).sum()

    compiled = torch.compile(pooled, fullgraph=True, backend="aot_eager")
    gradients = [torch.autograd.grad(function(features), features)[0] for function in (pooled, compiled)]
    torch.testing.assert_close(*gradients)
