from __future__ import annotations

import pytest
from pydantic import ValidationError

from detkit.training.config import TrainConfig
from detkit.training.loop.config import (
    ConstantScheduleConfig,
    EMAConfig,
    GradientConfig,
    SGDConfig,
    StepScheduleConfig,
    stretched,
)


def config(**changes: object) -> GradientConfig:
    return GradientConfig(type="gradient", optimizer=SGDConfig(type="sgd", lr=0.01), **changes)  # type: ignore[arg-type]


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    assert config(batch_size=6, accumulate=3).accumulate == 3
    with pytest.raises(ValidationError, match=r"batch_size \(6\) must be a multiple of accumulate \(4\)"):
        config(batch_size=6, accumulate=4)


@pytest.mark.parametrize(
    ("num_images", "epochs", "validate_every", "said"),
    [
        (400, 12, 1, "12 epochs of 100 steps"),  # 1200 steps are enough
        (396, 13, 1, "13 epochs, because one has only 99 steps"),
        (397, 12, 1, "12 epochs of 100 steps"),  # the last batch is smaller
        (161, 30, 2, "30 epochs, because one has only 41 steps"),
        (80, 60, 5, "60 epochs, because one has only 20 steps"),
        (4, 60, 5, "60 epochs, because one has only 1 step"),  # and no more than so many
        (0, 60, 5, "60 epochs, because one has only 1 step"),
    ],
)
def test_a_small_dataset_gets_enough_steps(
    num_images: int, epochs: int, validate_every: int, said: str
) -> None:
    fitted, sentence = config(epochs=12, batch_size=4).fitted_to(num_images)
    assert (fitted.epochs, fitted.validate_every, sentence) == (epochs, validate_every, said)
    assert fitted.ema is None


def test_drops_come_later_in_proportion_and_rare_validations_stay_rare() -> None:
    schedule = StepScheduleConfig(type="step", at=(8.0, 11.0), factor=0.5)
    fitted, _ = config(epochs=12, batch_size=4, schedule=schedule, validate_every=4).fitted_to(120)
    assert fitted.epochs == 40
    assert fitted.schedule == StepScheduleConfig(type="step", at=(26.7, 36.7), factor=0.5)
    assert fitted.validate_every == 4
    constant = ConstantScheduleConfig(type="constant")
    assert stretched(constant, 2.0) is constant
    enough, _ = config(epochs=12, batch_size=4, schedule=schedule).fitted_to(4000)
    assert enough.schedule is schedule


@pytest.mark.parametrize(
    ("num_images", "decay"),
    [
        (400, 0.9167),  # over 12 of 1200 steps
        (4000, 0.9917),
        (4_000_000, 0.9998),
        (4, 0.9),  # of 60 steps none is a hundredth
    ],
)
def test_the_running_mean_is_over_a_hundredth_of_the_training(num_images: int, decay: float) -> None:
    fitted, _ = config(epochs=12, batch_size=4, ema=EMAConfig()).fitted_to(num_images)
    assert fitted.ema == EMAConfig(decay=decay)


def test_a_training_whose_length_is_fixed_says_so() -> None:
    train = TrainConfig(type="own")
    said = "the length of the training is the template's, whatever the 1,234 examples"
    assert train.fitted_to(1234) == (train, said)
    assert not train.compiles
