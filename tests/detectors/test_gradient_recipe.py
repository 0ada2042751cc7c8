from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from detkit.data.transforms.config import ResizeConfig
from detkit.detectors import gradient_recipe
from detkit.detectors.gradient_recipe import _announce, _explained_memory
from detkit.errors import UserError
from detkit.training.loop.config import GradientConfig, SGDConfig
from detkit.training.loop.timeline import Timeline


def config(**changes: Any) -> GradientConfig:
    return GradientConfig(type="gradient", optimizer=SGDConfig(type="sgd", lr=0.01), **changes)


def failed(error: Exception, resize: ResizeConfig | None, **changes: Any) -> None:
    task: Any = SimpleNamespace(
        session=SimpleNamespace(device=torch.device("cpu")), data=SimpleNamespace(resize=resize)
    )
    with _explained_memory(task, config(**changes)):
        raise error


RESIZE = ResizeConfig(short_px=600, long_px=1000)
HALVED = "train.accumulate={} processes {} at a time, which takes about half as much and trains alike"


@pytest.mark.parametrize(
    ("resize", "changes", "processes", "at_once", "advice"),
    [
        (RESIZE, {"batch_size": 8}, 1, "8 images at a time, short side 600 px,", HALVED.format(2, 4)),
        (
            RESIZE, {"batch_size": 10, "accumulate": 2}, 1, "5 images at a time, short side 600 px,",
            HALVED.format(4, 3),
        ),
        (None, {"batch_size": 8}, 4, "2 images at a time", HALVED.format(2, 1)),
        (
            RESIZE, {"batch_size": 4, "accumulate": 2}, 2, "1 image at a time, short side 600 px,",
            "data.resize.short_px=420 makes the images half as large, and train.precision=bf16 halves the "
            "maps",
        ),
        (
            None, {"batch_size": 1}, 1, "1 image at a time",
            "data.resize.short_px, lower than now, makes the images half as large, and train.precision=bf16 "
            "halves the maps",
        ),
    ],
)  # fmt: skip
def test_where_memory_runs_out_it_is_said_what_to_lower(
    monkeypatch: pytest.MonkeyPatch,
    resize: ResizeConfig | None,
    changes: dict[str, Any],
    processes: int,
    at_once: str,
    advice: str,
) -> None:
    monkeypatch.setattr(gradient_recipe, "world_size", lambda: processes)
    monkeypatch.setattr(gradient_recipe, "peak_bytes", lambda device: 3 << 20)
    with pytest.raises(UserError) as told:
        failed(MemoryError(), resize, **changes)
    assert str(told.value) == (
        f"out of memory on cpu: {at_once} took 3 MiB and more was wanted. {advice}. `detkit plan CONFIG` "
        "says beforehand what fits"
    )


def test_other_errors_are_not_explained_by_memory() -> None:
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"):
        failed(RuntimeError("shape mismatch"), RESIZE)


def test_the_length_and_where_it_goes_on_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    _announce(config(epochs=1), Timeline([1]), "learning rate 1", 0)
    _announce(config(epochs=2), Timeline([1000, 1000]), "learning rate 1", 1234)
    assert capsys.readouterr().err == (
        "1 epoch, 1 step; learning rate 1\n2 epochs, 2,000 steps; learning rate 1\ngoes on after step 1,234\n"
    )
