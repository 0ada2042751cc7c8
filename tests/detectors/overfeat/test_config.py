"""OverFeat's config: what cannot be, whose layers it has, and scales of a dataset's objects."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from detkit.detectors.overfeat.config import OverFeatConfig


def config(**parts: Any) -> OverFeatConfig:
    return OverFeatConfig.model_validate({"type": "overfeat", **parts})


def pool(**keys: Any) -> dict[str, Any]:
    return {"type": "offset_pool", **keys}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"proposals": {"type": "rpn"}}, "overfeat with proposals: rpn is faster_rcnn"),
        ({"proposals": {"type": "sliding_window"}}, "sliding_window is rcnn: every window is a crop"),
        ({"proposals": {"type": "selective_search"}}, "selective_search is fast_rcnn"),
        ({"proposals": {"type": "dense_windows", "scales": (1.0, 0.5)}}, "scales must rise, got [1.0, 0.5]"),
        ({"proposals": {"type": "dense_windows", "scales": ()}}, "at least 1 item"),
        ({"regions": pool(stride=0)}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**parts)
    assert said in str(refused.value)


def test_layers_are_the_backbone_s_own_unless_windows_or_widths_are_others() -> None:
    vgg, resnet = {"type": "vgg"}, {"type": "resnet"}
    own = {"type": "custom", "target": "my:net"}
    assert [config(backbone=each).cells for each in (vgg, resnet, own)] == [7, 5, 5]
    assert [config(backbone=each).has_own_layers for each in (vgg, resnet, own)] == [True, False, False]
    assert config(backbone=vgg, regions=pool(cells=7)).has_own_layers
    assert not config(backbone=vgg, regions=pool(cells=5)).has_own_layers
    assert not config(backbone=vgg, head={"type": "dense_softmax", "channels": 4096}).has_own_layers


def test_a_window_is_as_large_as_the_objects_at_a_scale_of_each_size() -> None:
    given = config(backbone={"type": "resnet"}, regions=pool(size=2, stride=2, cells=2))
    # Windows of 4 cells of 16 px; what is smaller than half of one is seen twice as large.
    fitted = given.with_anchors(lambda maps: (((16.0, 32.0, 64.0, 128.0, 300.0),), (0.5, 1.0)))
    assert fitted.proposals.scales == (0.213, 0.5, 1.0, 2.0)
    OverFeatConfig.model_validate(fitted.model_dump())
