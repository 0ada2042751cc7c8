from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from detkit.errors import UserError
from detkit.ops.roi_align import roi_align, roi_align_pyramid
from tests.reference import roi_features

SCALE = 1 / 8
VERSIONS = [(ratio, aligned) for ratio in (0, 1, 2, 5) for aligned in (False, True)]

# In pixels of a map of 9 x 12 cells of 8 px: usual, tiny, flat, larger than the map, half and wholly
# outside, with swapped corners, and right at the ends of what counts as inside.
BOXES = torch.tensor([
    [10.0, 12.0, 50.0, 60.0], [20.3, 30.7, 22.1, 31.0], [16.0, 8.0, 16.0, 40.0], [-40.0, -50.0, 200.0, 180.0],
    [70.0, 50.0, 130.0, 95.0], [-60.0, -60.0, -20.0, -20.0], [300.0, 10.0, 400.0, 60.0],
    [50.0, 40.0, 20.0, 10.0], [-8.0, -8.0, 0.0, 0.0], [96.0, 72.0, 104.0, 80.0],
])  # fmt: skip
IMAGE = torch.arange(len(BOXES)) % 2


def maps(channels: int = 5, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    values = torch.randn(2, channels, 9, 12, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last)


def peer(features: Tensor, size: int, ratio: int, aligned: bool) -> Tensor:
    regions = torch.cat((IMAGE[:, None], BOXES), dim=1).to(features)
    return torchvision.ops.roi_align(features, regions, size, SCALE, ratio, aligned)


@pytest.mark.parametrize(("ratio", "aligned"), VERSIONS)
def test_equals_the_reference(ratio: int, aligned: bool) -> None:
    features = maps(2, torch.float64)
    got = roi_align(features, BOXES.double(), IMAGE, SCALE, 3, ratio, aligned)
    for region, (box, image) in enumerate(zip(BOXES.tolist(), IMAGE.tolist(), strict=True)):
        for channel in range(2):
            cells = features[image, channel].tolist()
            expected = roi_features.roi_align(cells, box, SCALE, 3, ratio, aligned)
            torch.testing.assert_close(got[region, channel], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("ratio", "aligned"), VERSIONS)
@pytest.mark.parametrize("channels", [1, 37])
def test_equals_torchvision_with_gradient(ratio: int, aligned: bool, channels: int) -> None:
    features = maps(channels).requires_grad_()
    got, expected = (
        roi_align(features, BOXES, IMAGE, SCALE, 4, ratio, aligned),
        peer(features, 4, ratio, aligned),
    )
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(out, features, weights)[0] for out in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratio", [0, 1, 3, 5])
@pytest.mark.parametrize("size", [1, 2])
def test_bins_much_larger_than_cells(ratio: int, size: int) -> None:
    """Each sample weighs two rows and two columns of its own."""
    values = torch.randn(1, 2, 45, 43, generator=torch.Generator().manual_seed(2))
    features = values.contiguous(memory_format=torch.channels_last).requires_grad_()
    boxes = torch.tensor([[0.7, 0.3, 42.1, 43.9], [-30.2, 5.1, 70.4, 40.2], [3.3, -25.1, 30.3, 80.7]])
    image = torch.zeros(3, dtype=torch.int64)
    got = roi_align(features, boxes, image, 1.0, size, ratio, True)
    regions = torch.cat((image[:, None], boxes), dim=1)
    expected = torchvision.ops.roi_align(features, regions, size, 1.0, ratio, True)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(out, features, weights)[0] for out in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_any_layout_gives_the_same() -> None:
    features = maps()
    for other in (features.contiguous(), features.repeat(1, 1, 1, 2)[..., :12]):
        got = roi_align(other, BOXES, IMAGE, SCALE, 3, 2, True)
        assert torch.equal(got, roi_align(features, BOXES, IMAGE, SCALE, 3, 2, True))
        assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("ratio", [0, 2])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype, ratio: int) -> None:
    features = maps(33, dtype).requires_grad_()
    exact = features.detach().float().requires_grad_()
    got, expected = (roi_align(each, BOXES, IMAGE, SCALE, 4, ratio, True) for each in (features, exact))
    assert got.dtype == dtype
    assert torch.equal(got, expected.to(dtype))
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    (gradient,) = torch.autograd.grad(got, features, weights)
    (wanted,) = torch.autograd.grad(expected, exact, weights.float())
    assert gradient.dtype == dtype
    assert torch.equal(gradient, wanted.to(dtype))


def test_not_a_number_stays_one() -> None:
    features = torch.full((1, 1, 4, 4), float("nan"), dtype=torch.bfloat16)
    assert (
        roi_align(features, torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([0]), 0.25, 1, 2, True)
        .isnan()
        .all()
    )


def test_wild_boxes_are_finite() -> None:
    wild = torch.tensor(
        [[0.0, 0.0, float("nan"), 9.0], [-1e30, 0.0, 1e30, 9.0], [0.0, 0.0, float("inf"), 9.0]]
    )
    got = roi_align(maps(), wild, torch.zeros(3, dtype=torch.int64), SCALE, 2, 0, True)
    assert got.isfinite().all()


@pytest.mark.parametrize("ratio", [0, 2])
def test_threads_and_bands_change_nothing(ratio: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = maps(16, torch.bfloat16).requires_grad_()
    boxes, image = BOXES.repeat(9, 1), IMAGE.repeat(9)
    results = []
    for threads, band in (  # bands of all rows, of three rows and of one
        (1, 1 << 19),
        (3, 3000),
        (3, 1),
    ):
        monkeypatch.setattr("detkit.ops.roi_align._BAND_BYTES", band)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        out = roi_align(features, boxes, image, SCALE, 3, ratio, True)
        (gradient,) = torch.autograd.grad(out.float().square().sum(), features)
        torch.set_num_threads(before)
        results.append((out, gradient))
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("ratio", [0, 2])
def test_gradients(ratio: int) -> None:
    features = maps(2, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f: roi_align(f, BOXES.double(), IMAGE, SCALE, 2, ratio, True), (features,), fast_mode=True
    )


def test_no_regions_and_no_maps() -> None:
    features = maps().requires_grad_()
    nothing = roi_align(features, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SCALE, 7, 2, True)
    assert nothing.shape == (0, 5, 7, 7)
    (gradient,) = torch.autograd.grad(nothing.sum(), features)
    assert torch.equal(gradient, torch.zeros_like(features))
    no_cells = torch.zeros(1, 5, 0, 3)
    assert roi_align(no_cells, torch.ones(1, 4), torch.tensor([0]), SCALE, 2, 2, True).eq(0).all()


def test_a_constant_map_gives_constants_inside() -> None:
    inside = torch.tensor([[8.0, 8.0, 60.0, 50.0]])
    got = roi_align(torch.full((1, 3, 9, 12), 2.5), inside, torch.tensor([0]), SCALE, 7, 0, True)
    torch.testing.assert_close(got, torch.full_like(got, 2.5))


def test_mistakes_are_named() -> None:
    one = torch.tensor([0])
    with pytest.raises(UserError, match="image: expected indices from 0 to 1, got 0 to 2"):
        roi_align(maps(), torch.zeros(2, 4), torch.tensor([0, 2]), SCALE, 7, 2, True)
    with pytest.raises(UserError, match="image: expected indices from 0 to 1, got -1 to -1"):
        roi_align(maps(), torch.zeros(1, 4), torch.tensor([-1]), SCALE, 7, 2, True)
    with pytest.raises(UserError, match=r"boxes: expected .*\(R, 4\), got \(1, 5\)"):
        roi_align(maps(), torch.zeros(1, 5), one, SCALE, 7, 2, True)
    with pytest.raises(UserError, match="image: expected one integer for each of 2 boxes"):
        roi_align(maps(), torch.zeros(2, 4), one, SCALE, 7, 2, True)
    with pytest.raises(UserError, match=r"features: expected maps of shape \(B, C, H, W\)"):
        roi_align(maps()[0], torch.zeros(1, 4), one, SCALE, 7, 2, True)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
def test_the_operator_is_what_it_says() -> None:
    features = maps(3).requires_grad_()
    level = torch.arange(len(BOXES)) % 3 // 2  # maps of two sizes
    sample = ([features, maps(3)[:, :, :6]], BOXES * SCALE, IMAGE, level, 3, 2, True)
    torch.library.opcheck(torch.ops.detkit.roi_align.default, sample)


@pytest.mark.parametrize("count", [0, 3])
def test_the_operator_tells_its_shape_without_being_run(count: int) -> None:
    with FakeTensorMode():
        indices = torch.zeros(count, dtype=torch.int64)
        sample = ([torch.zeros(2, 5, 8, 9)], torch.zeros(count, 4), indices, indices, 3, 2, True)
        assert torch.ops.detkit.roi_align.default(*sample).shape == (count, 5, 3, 3)


@pytest.mark.slow
def test_compiles_to_the_same() -> None:
    features = maps(3).requires_grad_()

    def pooled(values: Tensor) -> Tensor:
        return (roi_align(values * 2, BOXES, IMAGE, SCALE, 3, 2, True) ** 2).sum()

    compiled = torch.compile(pooled, fullgraph=True, backend="aot_eager")
    gradients = [torch.autograd.grad(function(features), features)[0] for function in (pooled, compiled)]
    torch.testing.assert_close(*gradients)


def test_exports_as_the_standard_operator() -> None:
    class Pool(torch.nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return roi_align(features, BOXES, IMAGE, SCALE, 3, 2, True)

    program = torch.export.export(Pool(), (maps(3),))
    names = {str(node.target) for node in program.graph.nodes}
    assert "torchvision.roi_align.default" in names
    torch.testing.assert_close(program.module()(maps(3)), Pool()(maps(3)), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_several_levels_are_exported_with_the_rows_in_their_order() -> None:
    """The program has to choose rows by the levels of its own input, not by those it was traced with."""
    size, ratio, scales = 3, 2, (1 / 8, 1 / 16, 1 / 32)

    class Pool(torch.nn.Module):
        def forward(self, fine: Tensor, mid: Tensor, coarse: Tensor, level: Tensor) -> Tensor:
            pyramid = [fine, mid, coarse]
            return roi_align_pyramid(pyramid, BOXES, IMAGE, level, scales, size, ratio, True)

    pyramid = (maps(3), maps(3, seed=1)[:, :, :5, :6], maps(3, seed=2)[:, :, :3, :3])
    traced, other = torch.arange(len(BOXES)) % 3, torch.arange(len(BOXES)) ** 2 % 3
    program = torch.export.export(Pool(), (*pyramid, traced)).module()
    for level in (traced, other, torch.zeros_like(traced)):
        found = program(*pyramid, level)
        for row, number in enumerate(level.tolist()):
            region = torch.cat((IMAGE[row : row + 1], BOXES[row]))[None]
            alone = torchvision.ops.roi_align(
                pyramid[number].contiguous(), region, size, scales[number], ratio, True
            )
            torch.testing.assert_close(found[row], alone[0], rtol=1e-5, atol=1e-5)
