"""A MobileNet's width is torchvision's `width_mult`."""

from __future__ import annotations

import pytest
import torch
import torchvision

from detkit.models.backbones.mobilenet.family import MOBILENET, MobileNetConfig


@pytest.mark.parametrize("width", [0.35, 1.4])
@pytest.mark.parametrize("variant", ["v2", "v3_small", "v3_large"])
def test_channels_follow_the_width_as_torchvisions_do(variant: str, width: float) -> None:
    spec = MobileNetConfig.model_validate({"type": "mobilenet", "variant": variant, "width": width})
    with torch.device("meta"):
        ours = MOBILENET.build(spec, True)
        theirs = torchvision.models.get_model(f"mobilenet_{variant}", width_mult=width).features
    assert ours.channels == MOBILENET.channels(spec)
    shapes = {f"features.{key}": value.shape for key, value in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()}.items() <= shapes.items()
