from __future__ import annotations

import pytest

from detkit.config.load import load_config
from detkit.detectors.faster_rcnn.to_torchvision import _notes

AS_THERE = (
    "detector.multiple_of=32",
    "detector.proposals.anchors.over=batch",
    "data.resize={short_px: 96, long_px: 128, like: torchvision}",
)


@pytest.mark.parametrize(
    ("left_out", "said"), [(0, "multiple_of"), (1, "anchors.over"), (2, "resize.like"), (None, None)]
)
def test_what_weights_cannot_change_is_noted(left_out: int | None, said: str | None) -> None:
    settings = [text for place, text in enumerate(AS_THERE) if place != left_out]
    config = load_config("faster_rcnn_resnet18_synthetic", settings)
    notes = list(_notes(config.detector, config.data))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]
