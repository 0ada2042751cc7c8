from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from detkit.proposals.config import ProposalFileConfig, SlidingWindowConfig
from detkit.runs import learning
from detkit.runs.learning import MOST_IMAGES, MOST_SEARCHED


def looked_at(source: object, proposals: object) -> tuple[object, int]:
    config = SimpleNamespace(detector=SimpleNamespace(external_proposals=proposals))
    return learning._proposals(config, source)


def test_proposals_of_a_file_are_taken_and_others_searched_in_fewer_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = [np.ones((2, 4), np.float32)]
    monkeypatch.setattr(
        learning,
        "attach_proposals",
        lambda config, source, part: SimpleNamespace(proposals=(config.train, part, boxes)),
    )
    source = SimpleNamespace(pixels=lambda image: np.zeros((40, 60, 3), np.uint8))
    assert looked_at(source, ProposalFileConfig(train="a")) == (("a", "train", boxes), MOST_IMAGES)
    search, most = looked_at(source, SlidingWindowConfig())
    assert most == MOST_SEARCHED
    assert search(0).shape[1] == 4
    assert search(0).dtype == np.float32
    assert looked_at(source, None) == (None, MOST_IMAGES)
