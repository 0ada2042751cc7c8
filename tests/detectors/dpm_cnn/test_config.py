"""The config of a DPM-CNN: what cannot be, and roots in the shapes of a dataset's objects."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from detkit.detectors.dpm_cnn.config import DPMCNNConfig


def config(**parts: Any) -> DPMCNNConfig:
    return DPMCNNConfig.model_validate({"type": "dpm_cnn", **parts})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"proposals": {"type": "stars", "roots": ((2, 8),), "parts": 4}},
            "do not fit into a root of [2, 8]",
        ),
        ({"regions": {"type": "max5", "pool_cells": 2}}, "pool_cells must be odd, got 2"),
        ({"proposals": {"type": "rpn"}}, "dpm_cnn with proposals: rpn cannot be: its windows are"),
        ({"proposals": {"type": "stars", "roots": ()}}, "at least 1 item"),
    ],
)
def test_what_cannot_be_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**parts)
    assert said in str(refused.value)


def test_roots_have_the_shapes_of_anchors_and_levels_their_sizes() -> None:
    fitted = config().with_anchors(lambda maps: (((64.0, 128.0, 256.0),), (0.25, 1.0, 4.0)))
    assert fitted.proposals.roots == ((2, 8), (4, 4), (8, 2), (4, 16), (8, 8), (16, 4))
    assert fitted.regions.levels == 5  # from 4 cells to 16 in steps of the square root of 2
    # Small objects have roots of two cells at least, large ones of eight and sixteen at most.
    small = config().with_anchors(lambda maps: (((10.0, 20.0),), (1.0,)))
    assert (small.proposals.roots, small.regions.levels) == (((2, 2), (4, 4)), 1)
    large = config().with_anchors(lambda maps: (((300.0, 512.0),), (1.0,)))
    assert (large.proposals.roots, large.regions.levels) == (((8, 8), (16, 16)), 5)


def test_roots_have_room_for_their_parts() -> None:
    given = config(proposals={"type": "stars", "parts": 2, "part_size": (3, 3)})
    fitted = given.with_anchors(lambda maps: (((48.0, 300.0),), (0.1, 1.0)))
    assert fitted.proposals.roots == ((3, 30), (3, 3), (6, 6))
    DPMCNNConfig.model_validate(fitted.model_dump())
    long = given.with_anchors(lambda maps: (((48.0, 300.0),), (0.01, 1.0)))
    assert long.proposals.roots == ((3, 64), (3, 3), (6, 6))
