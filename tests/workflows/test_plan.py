from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.runtime import memory
from detkit.runtime.threads import Threads
from detkit.training import memory_probe
from detkit.training.memory_probe import Line
from detkit.workflows import plan as workflow
from detkit.workflows.plan import Plan, plan

SMALL = ("data.train.num_images=6", "data.val.num_images=1", "data.resize={short_px: 96, long_px: 128}")


def small(*overrides: str) -> Config:
    return load_config("faster_rcnn_resnet18_synthetic", [*SMALL, *overrides])


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Memory that grows by 10 MB an image over 100 MB, of which so many bytes are free."""
    free, images = [1_000_000_000], [0]

    def remember(network: object, batch: object, *rest: object) -> None:
        images[0] = len(batch)  # type: ignore[arg-type]
        if 100e6 + 10e6 * images[0] > free[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory_probe, "backward", remember)
    monkeypatch.setattr(memory_probe, "peak_bytes", lambda device: 100_000_000 + 10_000_000 * images[0])
    monkeypatch.setattr(workflow, "free_bytes", lambda device: free[0])
    return free


def test_memory_is_predicted_by_a_line_and_checked(pretended: list[int]) -> None:
    result = plan(small("train.batch_size=8"))
    assert (result.predicted_bytes, result.measured_bytes) == (180_000_000, 180_000_000)
    assert result.fits
    assert result.largest_part == 80
    assert result.step_seconds is not None
    assert result.steps == 1  # 6 images in a batch of 8 at most: what is there
    assert (result.num_images, result.validations) == (6, result.epochs + 1)
    assert result.validation_seconds is not None
    written = result.to_json()
    assert written["epoch_seconds"] == result.step_seconds
    validated = result.validation_seconds * result.validations
    assert written["total_seconds"] == written["epoch_seconds"] * result.epochs + validated


@pytest.mark.parametrize(
    ("every", "expected"), [(1, 6), (2, 4), (5, 2), (0, 2)]
)  # of 5 epochs, and that of the best weights
def test_validations_are_counted_as_a_training_does_them(
    pretended: list[int], every: int, expected: int
) -> None:
    changed = small("train.batch_size=8", "train.epochs=5", f"train.validate_every={every}")
    assert plan(changed).validations == expected


def test_without_validation_images_none_is_timed(pretended: list[int]) -> None:
    result = plan(small("train.batch_size=8", "data.val=null"))
    assert (result.validation_seconds, result.validations) == (None, 0)
    assert result.total_seconds == result.step_seconds * result.epochs  # type: ignore[operator]


def test_a_class_without_an_object_to_learn_from_is_named(
    pretended: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    plan(small("data.train.num_images=40"))
    assert "warning" not in capsys.readouterr().err
    plan(small("data.train.num_images=1"))
    said = capsys.readouterr().err
    assert said.startswith("warning: the training set has no object of ")
    assert said.endswith(": never found after training\n")


def test_a_batch_that_does_not_fit_is_told_in_how_many_parts_it_does(pretended: list[int]) -> None:
    pretended[0] = 165_000_000
    result = plan(small("train.batch_size=8"))
    assert not result.fits
    assert result.largest_part == 4
    assert any("train.accumulate=2" in line for line in result.lines())
    assert plan(small("train.batch_size=8", "train.accumulate=2")).fits


def test_where_nothing_fits_the_images_are_too_large(pretended: list[int]) -> None:
    pretended[0] = 50_000_000
    result = plan(small("train.batch_size=4"))
    assert (result.fits, result.predicted_bytes, result.advised_parts) == (False, None, None)
    assert "short_px" in result.lines()[-1]


def test_a_real_step_takes_about_what_was_predicted() -> None:
    result = plan(small("train.batch_size=4"))
    assert result.fits
    assert result.measured_bytes is not None
    assert result.predicted_bytes == pytest.approx(result.measured_bytes, rel=0.3)


def test_a_few_steps_are_timed_and_the_rest_of_the_epoch_is_not_done() -> None:
    done: list[int] = []
    batches = iter([["a region"]] * 20)
    seconds = workflow._seconds(lambda batch, parts: done.append(parts), batches, 2, Threads())  # type: ignore[arg-type]
    assert done == [2] * (1 + workflow.TIMED_STEPS)
    assert seconds >= 0


def test_other_errors_are_not_taken_for_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*rest: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(memory_probe, "backward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        plan(small())


def test_loader_processes_need_shared_memory() -> None:
    plan = Plan("cpu", "fp32", 8, 1, 1, 1, None, None, 1, 1.0, 1, 1, 5 << 20, 1 << 20, num_images=8)
    assert not plan.fits
    assert "data.workers" in plan.lines()[-1]


def test_a_line_tells_how_much_fits() -> None:
    assert Line(100.0, 10.0)(3) == 130
    assert Line(100.0, 10.0).most(155.0) == 5
    assert Line(100.0, 10.0).most(50.0) == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_too_little_memory(error: Exception, expected: bool) -> None:
    assert memory.is_out_of_memory(error) == expected


def test_plan_is_for_a_training_with_batches() -> None:
    config = small()
    with pytest.raises(UserError, match=r"train\.type: alternating"):
        plan(config.model_copy(update={"train": load_alternating()}))


def load_alternating() -> object:
    from detkit.detectors.faster_rcnn.config import AlternatingConfig

    return AlternatingConfig.model_construct(type="alternating")


MEBIBYTE = 1 << 20
PLAN = Plan(
    device="cpu",
    precision="fp32",
    batch_size=8,
    parts=2,
    predicted_bytes=90 * MEBIBYTE,
    measured_bytes=80 * MEBIBYTE,
    free_bytes=100 * MEBIBYTE,
    largest_part=4,
    advised_parts=2,
    step_seconds=0.5,
    steps=100,
    epochs=12,
    shared_bytes=3 * MEBIBYTE,
    shared_free_bytes=3 * MEBIBYTE,
    num_images=790,
)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),  # nine tenths of what is free, and all of /dev/shm
        ({"predicted_bytes": 90 * MEBIBYTE + 1}, False),
        ({"predicted_bytes": None}, True),
        ({"free_bytes": None, "predicted_bytes": 1 << 50}, True),
        ({"measured_bytes": None}, False),
        ({"shared_bytes": 3 * MEBIBYTE + 1}, False),
        ({"shared_bytes": 1 << 50, "shared_free_bytes": None}, True),
    ],
)
def test_what_fits(changes: dict[str, int | None], fits: bool) -> None:
    assert replace(PLAN, **changes).fits is fits  # type: ignore[arg-type]


def test_a_plan_is_said_in_full() -> None:
    assert PLAN.lines() == [
        "8 images a step in 2 parts on cpu, fp32",
        "memory: 90 MiB predicted of 100 MiB free; the largest images took 80 MiB",
        "time: 0.50 s a step, 50 s an epoch of 100, 10.0 min for 12 epochs without validation",
        "memory alone has room for 4 images at a time",
    ]
    validated = replace(PLAN, validation_seconds=20.0, validations=7, largest_part=791)
    assert validated.total_seconds == 740
    assert validated.lines()[2:] == [
        "time: 0.50 s a step, 50 s an epoch of 100, 12.3 min for 12 epochs and 7 validations of 20 s",
        "memory alone has room for all 790 images at a time",
    ]
    changes = {
        "batch_size": 1,
        "parts": 1,
        "predicted_bytes": None,
        "measured_bytes": None,
        "free_bytes": None,
    }
    changes |= {
        "largest_part": None,
        "advised_parts": None,
        "step_seconds": None,
        "shared_bytes": 4 * MEBIBYTE,
    }
    assert replace(PLAN, **changes).lines() == [
        "1 image a step in 1 part on cpu, fp32",
        "memory: more predicted; the largest images did not fit",
        "/dev/shm has 3 MiB, the loader processes need 4 MiB: take fewer (data.workers), or give the "
        "container more",
        "not even one image fits: make the images smaller (data.resize.short_px)",
    ]
    assert replace(PLAN, measured_bytes=None, advised_parts=4).lines()[-1] == (
        "train.accumulate=4 works a step off in parts that fit, and learns alike"
    )
    assert replace(PLAN, measured_bytes=None).lines() == [
        *PLAN.lines()[:1],
        "memory: 90 MiB predicted of 100 MiB free; the largest images did not fit",
        *PLAN.lines()[2:],
    ]  # the parts are as they should be; something else is in the way


def test_times_of_a_plan_as_json() -> None:
    found = PLAN.to_json()
    assert (found["fits"], found["epoch_seconds"], found["total_seconds"]) == (True, 50.0, 600.0)
    found = replace(PLAN, step_seconds=None).to_json()
    assert (found["epoch_seconds"], found["total_seconds"]) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(89.0, "89 s"), (90.0, "1.5 min"), (5399.0, "90.0 min"), (5400.0, "1.5 h"), (36_000.0, "10.0 h")],
)
def test_a_time_has_the_unit_that_is_read_at_once(seconds: float, said: str) -> None:
    assert workflow._shown_time(seconds) == said


@pytest.mark.parametrize(
    ("batch_size", "affordable", "parts"),
    [(8, None, 1), (8, 0, None), (8, 8, 1), (8, 7, 2), (8, 3, 3), (200, 1, 64), (128, 2, 64)],
)
def test_as_few_parts_as_can_be(batch_size: int, affordable: int | None, parts: int | None) -> None:
    assert workflow._parts(batch_size, affordable) == parts
