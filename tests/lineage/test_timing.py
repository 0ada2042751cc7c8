from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from detkit.lineage import timing
from detkit.lineage.timing import WARM_UP, _coverage, _median, _seconds_of_network
from detkit.runtime.session import Session
from tests.reference.small_scene import scene

RUN = Session(torch.device("cpu"))


@pytest.mark.parametrize(
    ("took", "median"), [([9, 8, 1, 2, 6], 6), ([5, 9, 1, 1, 1], 1), ([3, 5], 4), ([5], 5)]
)
def test_the_first_ones_are_done_twice_and_warm_up(
    monkeypatch: pytest.MonkeyPatch, took: list[float], median: float
) -> None:
    now, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def work(number: int) -> None:
        first = calls.count(number) == 0
        calls.append(number)
        now[0] += 100 if first and number < WARM_UP else took[number]

    numbers = list(range(len(took)))
    assert _median(RUN, numbers, work) == median
    assert calls == [*numbers[:WARM_UP], *numbers]


def test_the_network_is_timed_without_its_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Proposes(nn.Module):
        def feature_maps(self, images: SimpleNamespace) -> str:
            return f"maps of {images.sizes}"

        def propose(self, maps: str, sizes: str, limits: object = None) -> None:
            asked.append((maps, sizes))

    monkeypatch.setattr(timing, "HasProposalNetwork", Proposes)
    seconds = _seconds_of_network(RUN, Proposes(), [SimpleNamespace(sizes="a")])  # type: ignore[list-item]
    assert seconds >= 0
    assert set(asked) == {("maps of a", "a")}


def test_recall_and_number_of_boxes() -> None:
    truth, _ = scene([("a", (10, 10, 40, 40)), ("a", (100, 100, 40, 40))], [])
    boxes = np.array([[10, 10, 50, 50], [500, 500, 600, 600], [0, 0, 5, 5]], np.float32)
    nothing = [np.zeros((0, 4), np.float32)] * (truth.num_images - 1)
    assert _coverage(truth, [boxes, *nothing]) == (0.5, 3 / truth.num_images)
    assert _coverage(truth, [boxes[:0], *nothing]) == (0.0, 0.0)
    for bottom, recall in ((30, 0.5), (29, 0.0)):  # half of the object, and a little less
        half = np.array([[10, 10, 50, bottom]], np.float32)
        assert _coverage(truth, [half, *nothing])[0] == recall
