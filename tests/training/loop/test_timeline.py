from __future__ import annotations

import pytest

from detkit.training.loop.timeline import Timeline


def test_places_epochs_and_steps_agree() -> None:
    timeline = Timeline([3, 5, 2])
    assert timeline.total == 10
    assert [timeline.place(step) for step in (0, 2, 3, 7, 8, 10)] == [
        (0, 0), (0, 2), (1, 0), (1, 4), (2, 0), (3, 0),
    ]  # fmt: skip
    assert [timeline.epoch(step) for step in (0, 3, 8, 10)] == [0, 1, 2, 3]
    for step in range(11):
        assert timeline.step(timeline.epoch(step)) == pytest.approx(step)


def test_an_epoch_beyond_the_end_goes_on_at_the_last_length() -> None:
    assert Timeline([3, 5]).step(3.0) == 13
