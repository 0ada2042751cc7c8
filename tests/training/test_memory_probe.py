from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from detkit.runtime.session import Session
from detkit.structures import ImageBatch, Target, TrainBatch
from detkit.training import memory_probe
from detkit.training.loop.optim import sgd
from detkit.training.memory_probe import Line, MemoryProbe, Step
from tests.training.loop.tiny import batches, tiny_model

CPU = torch.device("cpu")


def batch_of(count: int) -> TrainBatch:
    target = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    sizes = ((2, 5),) * count
    return TrainBatch(ImageBatch(torch.zeros(count, 3, 2, 5), sizes, sizes), (target,) * count)


def probe_of(peaks: dict[int, int | None], workers: int = 0) -> tuple[MemoryProbe, list[int]]:
    """A probe whose step takes so many bytes for so many images, and the sizes that it tries."""
    tried: list[int] = []

    class Known(Step):
        def peak(self, batch: TrainBatch, parts: int = 1) -> int | None:
            tried.append(len(batch))
            return 10**9 if len(tried) == 1 else peaks[len(batch)]

    session = Session(CPU, workers=workers)
    return MemoryProbe(session, Known(session, nn.Identity(), None), batch_of), tried  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "peaks", "tried", "line"),
    [
        (16, {4: 140, 8: 180}, [4, 4, 8], Line(100.0, 10.0)),
        (7, {1: 110, 3: 130}, [1, 1, 3], Line(100.0, 10.0)),
        (1, {1: 110, 2: 120}, [1, 1, 2], Line(100.0, 10.0)),
        (16, {4: 140, 8: 130}, [4, 4, 8], Line(140.0, 0.0)),  # noise
        (16, {4: 140, 8: None}, [4, 4, 8], Line(0.0, 35.0)),
        (16, {4: None, 8: None}, [4, 4, 8], Line(math.inf, 0.0)),
    ],
)
def test_two_probes_make_a_line(
    wanted: int, peaks: dict[int, int | None], tried: list[int], line: Line
) -> None:
    probe, seen = probe_of(peaks)
    assert probe.line(wanted) == line
    assert seen == tried


def test_a_line_tells_what_fits() -> None:
    line = Line(100.0, 10.0)
    assert [line(0), line(3)] == [100.0, 130.0]
    assert [line.most(limit) for limit in (50, 100, 109, 110, 125, 130)] == [0, 0, 0, 1, 2, 3]
    assert Line(100.0, 0.0).most(105) == 5  # a byte each at least
    unknown = Line(math.inf, 0.0)
    assert (line.known, unknown.known, unknown.most(1e12)) == (True, False, 0)


def test_workers_hold_two_batches_each() -> None:
    probe, _ = probe_of({}, workers=3)
    assert probe.shared_bytes(8) == 3 * 2 * 8 * (3 * 2 * 5 * 4)
    assert probe_of({})[0].shared_bytes(8) == 0


def test_a_step_leaves_the_weights_and_makes_the_optimizers_state() -> None:
    model = tiny_model()
    before = [parameter.clone() for parameter in model.parameters()]
    optimizer = sgd(model, lr=0.1, momentum=0.9, weight_decay=0.1, bias_lr_factor=1.0)
    Step(Session(CPU), model, optimizer)(next(batches()), 2)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    assert set(optimizer.state) == set(model.parameters())


@pytest.mark.parametrize(
    ("error", "peak"), [(MemoryError(), None), (RuntimeError("CUDA error: out of memory"), None), (None, 77)]
)
def test_the_peak_is_measured_afresh_and_none_where_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, peak: int | None
) -> None:
    calls: list[str] = []

    class Failing(Step):
        def __call__(self, batch: TrainBatch, parts: int = 1) -> None:
            calls.append(f"{len(batch)} in {parts}")
            if error is not None:
                raise error

    monkeypatch.setattr(memory_probe, "forget_peak", lambda device: calls.append(f"forget {device}"))
    monkeypatch.setattr(memory_probe, "peak_bytes", lambda device: 77)
    assert Failing(Session(CPU), nn.Identity(), None).peak(batch_of(3), 2) == peak  # type: ignore[arg-type]
    assert calls == ["forget cpu", "3 in 2"]


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    class Wrong(Step):
        def __call__(self, batch: TrainBatch, parts: int = 1) -> None:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Wrong(Session(CPU), nn.Identity(), None).peak(batch_of(1))  # type: ignore[arg-type]
