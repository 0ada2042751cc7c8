"""A frozen norm is batch normalisation in evaluation mode, alone or within a convolution."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from detkit.models.norm import FrozenBatchNorm, conv_block, conv_norm, folds_kept, make_norm, run_layers


def random_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).double().eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value.data)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def frozen_copy(norm: nn.BatchNorm2d) -> FrozenBatchNorm:
    frozen = FrozenBatchNorm(norm.num_features).double()
    frozen.load_state_dict(norm.state_dict())
    return frozen


def test_is_batch_norm_in_evaluation_mode() -> None:
    norm = random_norm(5)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(frozen_copy(norm).train()(x), norm(x))


@pytest.mark.parametrize("bias", [False, True])
def test_folding_changes_neither_value_nor_gradient(bias: bool) -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=bias).double()
    norm, twin = random_norm(6).requires_grad_(False), copy.deepcopy(conv)
    x = torch.randn(2, 4, 7, 9, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    folded, plain = conv_norm(conv, frozen_copy(norm), x), norm(twin(y))
    torch.testing.assert_close(folded, plain)
    folded.square().sum().backward()
    plain.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    for own, peer in zip(conv.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, peer.grad)


def test_folds_are_made_once_where_they_are_kept_and_forgotten_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = conv_block(4, 6, size=3, norm="frozen", relu=False)
    layers[1].load_state_dict(random_norm(6).float().state_dict())
    x, made = torch.randn(2, 4, 7, 9), []
    whole = FrozenBatchNorm.scale_and_shift
    monkeypatch.setattr(FrozenBatchNorm, "scale_and_shift", lambda norm: made.append(1) or whole(norm))
    expected = run_layers(layers, x).detach()
    with folds_kept(layers), torch.no_grad():
        for _ in range(3):
            assert torch.equal(run_layers(layers, x), expected)
        with torch.autocast("cpu", torch.bfloat16):
            for _ in range(2):
                torch.testing.assert_close(run_layers(layers, x).float(), expected, rtol=0.05, atol=0.05)
        assert len(made) == 3  # before, and inside once for each type
        with torch.enable_grad():
            assert run_layers(layers, x).requires_grad
    with torch.no_grad():
        layers[0].weight.mul_(2)
        assert not torch.equal(run_layers(layers, x), expected)


def test_a_trainable_norm_is_called() -> None:
    conv, norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
    x = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(conv_norm(conv, norm, x), nn.BatchNorm2d(3)(conv(x)))
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("kind", ["frozen", "trainable", "sync"])
def test_rows_of_layers_give_what_a_sequence_gives(kind: str) -> None:
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 3), make_norm(kind, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 1)
    ).eval()
    x = torch.randn(1, 2, 9, 9)
    torch.testing.assert_close(run_layers(layers, x), layers(x))


def test_blocks_have_a_bias_or_a_norm() -> None:
    assert set(conv_block(2, 3, size=3, norm="none", relu=True).state_dict()) == {"0.weight", "0.bias"}
    assert "0.bias" not in conv_block(2, 3, size=3, norm="trainable", relu=False).state_dict()
    assert conv_block(2, 3, size=3, norm="none", relu=True)(torch.zeros(1, 2, 5, 6)).shape == (1, 3, 5, 6)


def test_each_kind_of_norm() -> None:
    kinds = {
        "frozen": FrozenBatchNorm,
        "trainable": nn.BatchNorm2d,
        "sync": nn.SyncBatchNorm,
        "none": nn.Identity,
    }
    for kind, expected in kinds.items():
        made = make_norm(kind, 3)  # type: ignore[arg-type]
        assert type(made) is expected
        assert kind == "none" or made.weight.shape == (3,)


def test_a_frozen_norm_is_loaded_beside_others() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), FrozenBatchNorm(2))
    source = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    source[0].num_batches_tracked.fill_(7)
    source[1].running_mean.fill_(3)
    model.load_state_dict(source.state_dict())
    assert model[0].num_batches_tracked == 7
    assert model[1].running_mean.tolist() == [3, 3]
