from __future__ import annotations

from dataclasses import replace

import pytest

from detkit.training.staged.plan import StagedPlan

PLAN = StagedPlan(
    device="cpu",
    precision="fp32",
    num_images=10,
    num_regions=20_000,
    step_seconds=0.5,
    steps=720,
    step_bytes=900,
    free_bytes=1000,
    regions_per_second=100.0,
    cache_bytes=50,
    disk_free_bytes=50,
)


def test_time_is_counted_in_steps_and_regions() -> None:
    assert PLAN.fine_tune_seconds == 360
    assert PLAN.feature_seconds == 200
    assert replace(PLAN, step_seconds=None).fine_tune_seconds is None
    assert PLAN.to_json()["feature_seconds"] == 200


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),  # a step may take nine tenths of the memory, the features all of the disk
        ({"step_bytes": 901}, False),
        ({"free_bytes": None}, True),
        ({"cache_bytes": 51}, False),
        ({"step_bytes": None}, False),
        ({"step_bytes": None, "steps": 0}, True),
    ],
)
def test_what_fits(changes: dict[str, int | None], fits: bool) -> None:
    assert replace(PLAN, **changes).fits is fits  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "said"), [(60, "0.5 min"), (10798, "90.0 min"), (10800, "1.5 h")])
def test_from_an_hour_and_a_half_on_hours_are_said(steps: int, said: str) -> None:
    assert f"fine_tune: 0.50 s a step, {said} for {steps:,} steps" in replace(PLAN, steps=steps).lines()[1]


def test_people_read_what_is_in_the_way() -> None:
    lines = replace(PLAN, step_bytes=None, cache_bytes=3 << 20, disk_free_bytes=2 << 20).lines()
    assert lines == [
        "20,000 regions in 10 images, on cpu, fp32",
        "fine_tune: a step does not fit into memory; train.fine_tune.accumulate=2 halves it",
        "features: 100 regions/s, 3.3 min; 3 MiB on the disk, which has 2 MiB",
        "train.cache=none computes features when they are needed and keeps none",
        "svms and box_regression: depends on how many negatives turn out to be hard",
    ]
    assert len(PLAN.lines()) == 4
    assert [line for line in replace(PLAN, steps=0).lines() if "fine_tune" in line] == []
