"""A MobileNet's width is torchvision's `width_mult`, and its maps those of torchvision's detectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torchvision.models.detection.backbone_utils import mobilenet_backbone

from detkit.models.backbones.mobilenet.family import MOBILENET, MobileNetConfig
from detkit.models.backbones.mobilenet.shapes import NORM_EPS, variant_of_weights
from detkit.models.norm import FrozenBatchNorm
from tests.models.backbones.networks import fresh

VARIANTS = ("v2", "v3_small", "v3_large")


@pytest.mark.parametrize("width", [0.35, 1.4])
@pytest.mark.parametrize("maps", ["stages", "last_stage"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_channels_follow_the_width_as_torchvisions_do(variant: str, maps: str, width: float) -> None:
    spec = MobileNetConfig.model_validate({"variant": variant, "width": width, "maps": maps})
    with torch.device("meta"):
        ours = MOBILENET.build(spec, True)
        theirs = torchvision.models.get_model(f"mobilenet_{variant}", width_mult=width).features
    assert (ours.channels, ours.strides) == (MOBILENET.channels(spec), spec.map_strides)
    shapes = {f"features.{key}": value.shape for key, value in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()}.items() <= shapes.items()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_stage_gives_the_maps_of_torchvisions_detectors(variant: str) -> None:
    # Without a layer for norms, torchvision takes the classifier's.
    theirs: Any = mobilenet_backbone(
        backbone_name=f"mobilenet_{variant}", weights=None, fpn=True, norm_layer=None
    )
    body = fresh(theirs.body)
    spec = MobileNetConfig.model_validate({"variant": variant, "maps": "last_stage"})
    ours = MOBILENET.build(spec, True).eval()
    ours.load_state_dict({f"features.{name}": value for name, value in body.state_dict().items()})
    x = torch.randn(1, 3, 65, 96)
    with torch.no_grad():
        wanted, found = list(body(x).values()), ours(x)
    assert ours.channels == tuple(block[0].in_channels for block in theirs.fpn.inner_blocks)
    assert [each.shape[2:] for each in found] == [(3, 3)] * 2
    for own, peer in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, peer, rtol=1e-3, atol=1e-4 * float(peer.abs().max()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_tell_the_variant_and_its_norms(variant: str) -> None:
    with torch.device("meta"):
        network = MOBILENET.build(MobileNetConfig.model_validate({"variant": variant}), True)
    names = list(network.state_dict())
    assert variant_of_weights(names, "features.") == variant
    assert variant_of_weights(names[:-1], "other.") is None
    without_last = [name for name in names if name.split(".")[1] != names[-1].split(".")[1]]
    assert variant_of_weights(without_last, "features.") is None
    assert {m.eps for m in network.modules() if isinstance(m, FrozenBatchNorm)} == {NORM_EPS[variant]}
