from __future__ import annotations

import pytest
from pydantic import ValidationError

from detkit.training.staged.config import FineTuneConfig, StagedConfig


def test_regions_are_divided_among_the_images_of_a_step() -> None:
    with pytest.raises(
        ValidationError, match=r"batch_size \(9\) must be a multiple of images_per_step \(2\)"
    ):
        FineTuneConfig(batch_size=9)
    assert FineTuneConfig(batch_size=9, images_per_step=3).batch_size == 9


@pytest.mark.parametrize(
    ("num_images", "steps", "drop_every", "said"),
    [
        (
            1000, 13_969, 3991,
            "fine-tuning takes 13,969 steps, because the template's 70,000 are meant for the 5,011 images of "
            "VOC 2007 and there are 1,000",
        ),
        (
            50, 1200, 343,
            "fine-tuning takes 1,200 steps (never fewer than that), because the template's 70,000 are meant "
            "for the 5,011 images of VOC 2007 and there are 50",
        ),
        (5011, 70_000, 20_000, "fine-tuning takes 70,000 steps, as in the template"),
        (10_000, 70_000, 20_000, "fine-tuning takes 70,000 steps, as in the template"),
    ],
)  # fmt: skip
def test_a_small_dataset_has_fewer_steps(num_images: int, steps: int, drop_every: int, said: str) -> None:
    fitted, sentence = StagedConfig(type="staged").fitted_to(num_images)
    assert sentence == said
    assert fitted.fine_tune is not None
    assert (fitted.fine_tune.steps, fitted.fine_tune.drop_every) == (steps, drop_every)


def test_a_rate_that_never_falls_stays_so_and_one_that_falls_goes_on_falling() -> None:
    assert FineTuneConfig(drop_every=0).fitted_to(50).drop_every == 0
    assert FineTuneConfig(drop_every=1).fitted_to(50).drop_every == 1


def test_without_fine_tuning_there_is_no_length() -> None:
    config = StagedConfig(type="staged", fine_tune=None)
    assert config.fitted_to(50) == (config, "the network is not fine-tuned")
