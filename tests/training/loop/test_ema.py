from __future__ import annotations

import torch

from detkit.training.loop.ema import EMA
from tests.training.loop.tiny import tiny_model


def test_the_mean_follows_the_formula_and_warms_up() -> None:
    model = tiny_model()
    ema = EMA(model, 0.25)
    expected = model.head.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            model.head.weight.add_(step)
        ema.update()
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.head.weight.detach()
    torch.testing.assert_close(ema.state_dict()["mean"]["head.weight"], expected)
    assert ema.num_updates == 5


def test_swapping_in_is_undone_even_after_an_error() -> None:
    model = tiny_model()
    ema = EMA(model, 0.5)
    before = model.head.weight.detach().clone()
    with torch.no_grad():
        model.head.weight.zero_()
    try:
        with ema.swapped_in():
            assert torch.equal(model.head.weight, before)
            raise ValueError
    except ValueError:
        pass
    assert not model.head.weight.any()
    assert torch.equal(ema.state_dict()["mean"]["head.weight"], before)


def test_frozen_parameters_and_buffers_stay_the_models_own() -> None:
    model = tiny_model()
    model.conv.requires_grad_(False)
    ema = EMA(model, 0.5)
    model.norm.running_mean.fill_(7)
    with ema.swapped_in():
        assert model.norm.running_mean.eq(7).all()
    assert not any(name.startswith("conv") for name in ema.state_dict()["mean"])
