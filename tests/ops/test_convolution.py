"""A convolution's gradients against PyTorch's own, by the way that is taken where that one is slow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.ops import convolution
from detkit.ops.convolution import Conv2d, convolve, weight_gradient

SHAPES = [
    ((2, 64, 9, 12), 5, (3, 3), (1, 1), (1, 1)),
    ((3, 64, 8, 7), 4, (3, 3), (2, 2), (1, 1)),
    ((1, 3, 31, 33), 6, (7, 7), (2, 2), (3, 3)),
    ((2, 8, 40, 70), 3, (3, 3), (1, 1), (1, 1)),  # more places than are copied at once
    ((5, 8, 20, 30), 3, (3, 3), (1, 1), (0, 0)),  # three images at once, and two
    ((2, 4, 9, 12), 3, (1, 5), (1, 2), (0, 2)),
    ((1, 4, 2, 2500), 3, (2, 1), (1, 1), (0, 0)),  # one row is more than is copied at once
    ((2, 4, 3, 3), 2, (3, 3), (1, 1), (0, 0)),  # one place
]


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take products of matrices for any processor and size, and tiles for none."""
    monkeypatch.setattr(convolution, "_library_is_slow", lambda: True)
    monkeypatch.setattr(convolution, "_FEWEST_CHANNELS", 1)
    monkeypatch.setattr(convolution, "_FEWEST_NUMBERS", 1)
    monkeypatch.setattr(convolution, "_FEWEST_TILES", 10**9)


@pytest.fixture
def in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take Winograd's method for few channels and tiles, too, and nothing else of ours."""
    monkeypatch.setattr(convolution, "_library_is_slow", lambda: False)
    monkeypatch.setattr(convolution, "_FEWEST_OF_TILES", 4)
    monkeypatch.setattr(convolution, "_FEWEST_OF_TILES_BACK", 3)
    monkeypatch.setattr(convolution, "_FEWEST_TILES", 4)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("shape", "channels_out", "size", "stride", "padding"), SHAPES)
def test_gradient_of_the_weights_is_pytorchs(
    shape: tuple[int, ...],
    channels_out: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    x, weight = drawn(*shape).double(), drawn(channels_out, shape[1], *size).double().requires_grad_()
    result = F.conv2d(x, weight, None, stride, padding)
    grad = torch.randn_like(result)
    (expected,) = torch.autograd.grad(result, weight, grad)
    torch.testing.assert_close(weight_gradient(grad, x, size, stride, padding), expected)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_all_gradients_are_pytorchs(layout: torch.memory_format, bias: bool, learned: bool) -> None:
    torch.manual_seed(0)
    x, weight = drawn(2, 6, 9, 8), torch.randn(4, 6, 3, 3).contiguous(memory_format=layout)
    given = [
        x.requires_grad_(),
        weight.requires_grad_(learned),
        torch.randn(4).requires_grad_() if bias else None,
    ]
    wanted = [each for each in given if each is not None and each.requires_grad]
    ours = convolve(x, weight, given[2], (2, 1), (1, 1), (1, 1))
    theirs = F.conv2d(x, weight, given[2], (2, 1), (1, 1))
    grad = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    found = torch.autograd.grad(ours, wanted, grad)
    torch.testing.assert_close(found, torch.autograd.grad(theirs, wanted, grad), rtol=1e-5, atol=1e-5)
    if learned:
        assert found[1].is_contiguous(memory_format=layout)


@pytest.mark.usefixtures("everywhere")
def test_it_is_taken_where_it_pays_and_nowhere_else() -> None:
    def way_of(x: Tensor, conv: Conv2d) -> str:
        return str(conv(x).grad_fn)

    conv = Conv2d(4, 3, 3, padding=1)
    assert "_Convolution" in way_of(drawn(1, 4, 5, 6), conv)
    assert "_Convolution" not in way_of(torch.randn(1, 4, 5, 6), conv)  # channels are not last
    assert "_Convolution" not in way_of(drawn(1, 4, 5, 6), Conv2d(4, 3, 1))
    for other in (
        {"dilation": 2},
        {"groups": 2},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
    ):
        x, unlike = drawn(1, 4, 9, 9), Conv2d(4, 4, 3, **other)  # type: ignore[arg-type]
        assert "_Convolution" not in way_of(x, unlike)
        torch.testing.assert_close(unlike(x), torch.nn.Conv2d.forward(unlike, x))
    with torch.autocast("cpu", torch.bfloat16):
        assert "_Convolution" not in way_of(drawn(1, 4, 5, 6), conv)
    with torch.no_grad():
        assert conv(drawn(1, 4, 5, 6)).grad_fn is None
    assert "_Convolution" not in way_of(drawn(1, 4, 5, 6).requires_grad_(), conv.requires_grad_(False))


@pytest.mark.usefixtures("everywhere")
def test_gradient_does_not_depend_on_memory_of_an_earlier_one() -> None:
    torch.manual_seed(0)
    x, weight = drawn(5, 8, 20, 30), drawn(3, 8, 3, 3).requires_grad_()
    found = []
    for _ in range(2):
        found += torch.autograd.grad(convolve(x, weight, None, (1, 1), (1, 1), (1, 1)).sum(), weight)
    assert torch.equal(*found)


@pytest.mark.parametrize("stride", [(2, 2), (1, 3)])
@pytest.mark.parametrize("channels", [1, 8, 15, 16])
def test_steps_over_few_channels_are_pytorchs(channels: int, stride: tuple[int, int]) -> None:
    """PyTorch's own backward of channels-last maps kills the process on some processors; products do not."""
    torch.manual_seed(0)
    x, weight = drawn(2, channels, 76, 100), drawn(32, channels, 1, 1)
    maps = x.detach().contiguous().requires_grad_()
    kernels = weight.detach().contiguous().requires_grad_()
    stepped = maps[:, :, :: stride[0], :: stride[1]]
    expected = torch.einsum("bchw,oc->bohw", stepped, kernels[:, :, 0, 0])
    grad = torch.randn_like(expected)
    expected.backward(grad)
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    found = convolve(x, weight, None, stride, (0, 0), (1, 1))
    found.backward(grad)
    assert x.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(x.grad, maps.grad)
    torch.testing.assert_close(weight.grad, kernels.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("in_tiles")
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    "learned", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
def test_gradients_by_tiles_are_pytorchs(channels: int, learned: tuple[bool, bool, bool]) -> None:
    torch.manual_seed(0)
    tensors = (drawn(2, 5, 9, 8), torch.randn(channels, 5, 3, 3), torch.randn(channels))
    given = [each.requires_grad_(wanted) for each, wanted in zip(tensors, learned, strict=True)]
    ours = convolve(*given, (1, 1), (1, 1), (1, 1))
    theirs = F.conv2d(*given, (1, 1), (1, 1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(theirs)
    wanted = [each for each in given if each.requires_grad]
    found = torch.autograd.grad(ours, wanted, grad)
    torch.testing.assert_close(found, torch.autograd.grad(theirs, wanted, grad), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("in_tiles")
@pytest.mark.parametrize("layout", ["expanded", "channels first", "channels last"])
def test_gradients_by_tiles_take_any_layout(layout: str) -> None:
    torch.manual_seed(0)
    x, weight = drawn(2, 5, 9, 8).requires_grad_(), torch.randn(4, 5, 3, 3, requires_grad=True)
    ours = convolve(x, weight, None, (1, 1), (1, 1), (1, 1))
    theirs = F.conv2d(x, weight, None, (1, 1), (1, 1))
    grad = {
        "expanded": torch.ones(()).expand(ours.shape),
        "channels first": torch.randn(ours.shape),
        "channels last": drawn(*ours.shape),
    }[layout]
    found = torch.autograd.grad(ours, (x, weight), grad)
    expected = torch.autograd.grad(theirs, (x, weight), grad)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("in_tiles")
@pytest.mark.parametrize("recorded", [True, False])
def test_what_tiles_gave_can_be_changed_in_place(recorded: bool) -> None:
    torch.manual_seed(0)
    x, weight = drawn(1, 5, 9, 8), torch.randn(4, 5, 3, 3, requires_grad=recorded)
    clipped = convolve(x, weight, None, (1, 1), (1, 1), (1, 1)).relu_()
    assert clipped.min() == 0
    assert clipped.requires_grad == recorded


@pytest.mark.usefixtures("in_tiles")
def test_tiles_are_taken_where_they_pay_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(convolution, "winograd", lambda *given: calls.append(given) or F.conv2d(*given[:3]))

    def taken(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 1, dilation: int = 1) -> bool:
        calls.clear()
        convolve(x, weight, None, (stride,) * 2, (padding,) * 2, (dilation,) * 2)
        return bool(calls)

    x, weight = drawn(1, 4, 8, 8), torch.randn(4, 4, 3, 3)
    assert taken(x, weight)
    assert not taken(x, weight, stride=2)
    assert not taken(x, weight, padding=3)
    assert not taken(x, weight, dilation=2)
    assert not taken(x, torch.randn(4, 4, 5, 5), padding=2)
    assert not taken(x, torch.randn(3, 4, 3, 3))
    assert not taken(drawn(1, 4, 4, 8), weight)  # two tiles
    assert not taken(torch.randn(1, 4, 8, 8), weight)  # channels are not last
    assert not taken(x.double(), weight.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not taken(x, weight)


@pytest.mark.parametrize("wanted", [0, 1])
def test_the_librarys_gradients_are_of_maps_and_of_weights(wanted: int) -> None:
    torch.manual_seed(0)
    x, weight = drawn(2, 3, 6, 7).requires_grad_(), drawn(4, 3, 3, 3).requires_grad_()
    result = F.conv2d(x, weight, None, (2, 1), (1, 0))
    grad = torch.randn_like(result)
    expected = torch.autograd.grad(result, (x, weight), grad)[wanted]
    plan = convolution._Plan((2, 1), (1, 0), "library", "library")
    found = convolution._of_library(grad, x.detach(), weight.detach(), plan, wanted)
    torch.testing.assert_close(found, expected)
    by_name = (convolution._input_gradient, convolution._weight_gradient)[wanted]
    torch.testing.assert_close(by_name(grad, x.detach(), weight.detach(), plan), expected)
