"""The training loop on a GPU: equal runs, resuming, loss scaling, bfloat16, memory."""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detkit.data.regions.batch import Batch
from detkit.errors import NonFiniteLossError
from detkit.runtime.session import Session
from detkit.training.loop.checkpoint import TrainingState
from detkit.training.loop.fit import fit
from detkit.training.loop.milestones import Report
from detkit.training.loop.optim import sgd
from detkit.training.loop.timeline import Timeline
from tests.gpu.small_detectors import NAMES, small, training_batch

pytestmark = pytest.mark.gpu
PYRAMID, ROI_POOL = "faster_rcnn_resnet18_synthetic", "fast_rcnn_vgg16_voc07"
STEPS = 3


class Scaled(nn.Module):
    """A detector whose losses are multiplied, to let a gradient overflow."""

    def __init__(self, detector: nn.Module, factor: Callable[[int], float]) -> None:
        super().__init__()
        self.detector, self.factor, self.step = detector, factor, 0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        factor, self.step = self.factor(self.step), self.step + 1
        losses: dict[str, Tensor] = self.detector(batch)
        return {name: loss * factor for name, loss in losses.items()}


def train(
    model: nn.Module, name: str, device: torch.device, *, epochs: int = 1, steps: int = STEPS, **changes: Any
) -> TrainingState:
    model.to(device)
    settings: dict[str, Any] = {"precision": None} | changes
    return fit(
        model,
        lambda _, start: [training_batch(name)] * (steps - start),
        sgd(model, lr=1e-3, momentum=0.9, weight_decay=1e-4, bias_lr_factor=2.0),
        timeline=Timeline([steps] * epochs),
        session=Session(device, settings.pop("precision")),
        seed=3,
        **settings,
    )


def digest(model: nn.Module) -> str:
    """Return a hash of all parameters and buffers."""
    hasher = hashlib.sha256()
    for name, value in model.state_dict().items():
        hasher.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("name", NAMES)
def test_two_runs_give_the_same_weights_bit_for_bit(device: torch.device, name: str) -> None:
    before, first, second = (small(name) for _ in range(3))
    train(first, name, device)
    torch.rand(17, device=device)  # the state of the device's generator must not matter
    train(second, name, device)
    assert digest(first) == digest(second) != digest(before)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [PYRAMID, ROI_POOL])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    device: torch.device, name: str, precision: torch.dtype | None, tmp_path: Path
) -> None:
    whole, stopped, resumed = (small(name) for _ in range(3))
    how: dict[str, Any] = {"precision": precision, "ema_decay": 0.9, "clip_norm": 5.0}
    expected = train(whole, name, device, epochs=2, **how)
    train(stopped, name, device, epochs=1, folder=tmp_path, **how)
    state = train(resumed, name, device, epochs=2, folder=tmp_path, resumes=True, **how)
    assert state.step == 2 * STEPS
    assert digest(resumed) == digest(whole)
    assert state.scaler.state_dict() == expected.scaler.state_dict()
    assert state.ema is not None
    assert expected.ema is not None
    for key, mean in expected.ema.state_dict()["mean"].items():
        assert torch.equal(state.ema.state_dict()["mean"][key], mean), key


def test_the_scaler_skips_a_step_that_overflows_and_scales_less(device: torch.device) -> None:
    seen: list[str] = []
    model = Scaled(small(PYRAMID), lambda step: 1e36 if step == 0 else 1.0)
    model.to(device)
    parameters = {key: p.detach().clone() for key, p in model.named_parameters()}

    def on_step(report: Report) -> None:
        kept = all(torch.equal(p.detach(), parameters[key]) for key, p in model.named_parameters())
        seen.append("skipped" if kept else "taken")
        parameters.update((key, p.detach().clone()) for key, p in model.named_parameters())

    # An untrained network's gradient may overflow a few times more until the scale is right.
    state = train(model, PYRAMID, device, steps=8, precision=torch.float16, on_step=on_step)
    assert (seen[0], seen[-1]) == ("skipped", "taken"), seen
    assert state.scaler.get_scale() == 2.0 ** (16 - seen.count("skipped"))  # PyTorch begins there, and halves
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_bfloat16_is_finite_and_changes_the_weights(device: torch.device, name: str) -> None:
    model, before = small(name), small(name)
    values: dict[str, float] = {}
    train(model, name, device, precision=torch.bfloat16, on_step=lambda report: values.update(report.values))
    assert {"grad_norm"} < set(values)
    assert all(map(math.isfinite, values.values()))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert digest(model) != digest(before)


def test_a_loss_that_is_no_number_stops_the_training_and_leaves_the_batch(
    device: torch.device, tmp_path: Path
) -> None:
    model = Scaled(small(ROI_POOL), lambda step: math.nan if step == 1 else 1.0)
    with pytest.raises(NonFiniteLossError, match="step 1: head_class is nan"):
        train(model, ROI_POOL, device, folder=tmp_path)
    content = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    assert content["step"] == 1
    assert content["pixels"].device.type == "cpu"
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.parametrize("name", [PYRAMID, ROI_POOL])
def test_memory_does_not_grow_over_steps(device: torch.device, name: str) -> None:
    used: list[int] = []
    train(small(name), name, device, steps=12, on_step=lambda _: used.append(bytes_in_use(device)))
    assert len(set(used[3:])) == 1, used


def bytes_in_use(device: torch.device) -> int:
    """Return what the tensors take that are there: on a GPU as its allocator says."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device)
    tensors = [each for each in gc.get_objects() if type(each) in (Tensor, nn.Parameter)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return sum(storages.values())
