"""CaffeNet is Caffe's reference network, with the padding of R-CNN or that of Fast R-CNN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from detkit.detectors.builder import build_detector
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.rcnn.model import RCNN
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.models.backbones.caffenet.network import CaffeNet
from tests.models.backbones.networks import trainable
from tests.reference.caffe_layers import max_pool, norm_across_channels

BACKBONE = {"type": "caffenet"}


@pytest.mark.parametrize(("padded", "size"), [(False, (99, 115)), (True, (96, 80))])
def test_it_is_caffes_layers_one_by_one(padded: bool, size: tuple[int, int]) -> None:
    """Convolution, ReLU, pooling, norm: written out with the numbers of the released prototxts."""
    torch.manual_seed(0)
    network = CaffeNet(width=0.125, padded=padded).double().eval()
    convs = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    for conv in convs:
        nn.init.normal_(conv.bias)
    y = x = torch.randn(2, 3, *size, dtype=torch.float64) * 100
    plan = ((4, 5 * padded, 1, True), (1, 2, 2, True), (1, 1, 1, False), (1, 1, 2, False), (1, 1, 2, False))
    for conv, (stride, padding, groups, pooled) in zip(convs, plan, strict=True):
        # Each half of the outputs sees its half of the inputs.
        parts = zip(y.chunk(groups, 1), conv.weight.chunk(groups), conv.bias.chunk(groups), strict=True)
        y = torch.cat([nn.functional.conv2d(*part, stride, padding) for part in parts], dim=1).relu()
        if pooled:
            maps = max_pool(y.detach().numpy(), 3, 2, int(padded))
            y = torch.from_numpy(norm_across_channels(maps, 5, 1e-4, 0.75))
    assert y.std() > 1
    torch.testing.assert_close(network(x)[0], y)


def test_227_pixels_are_13_cells_and_the_classifier_has_the_published_size() -> None:
    assert CaffeNet(width=0.05, padded=False)(torch.zeros(1, 3, 227, 227))[0].shape[2:] == (13, 13)
    with torch.device("meta"):
        model = classifier(width=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 60_965_224


def test_fc6_sees_pool5_of_a_crop() -> None:
    model = classifier(width=0.05).eval()
    conv5 = model.backbone(torch.randn(1, 3, 227, 227) * 100)[0]
    torch.manual_seed(0)
    pool5 = torch.from_numpy(max_pool(conv5.detach().numpy(), 3, 2, 0)).float()
    assert pool5.shape[2:] == (6, 6)
    torch.testing.assert_close(model.tail(conv5), model.tail.classifier(pool5.flatten(1)))


def classifier(width: float) -> Any:
    spec = {"type": "classifier", "backbone": {**BACKBONE, "width": width}, "crop_px": 227}
    return build_detector(ClassifierConfig.model_validate(spec), 1000, 0)


@pytest.mark.parametrize(
    ("kind", "name", "padding"),
    [
        (RCNNConfig, "rcnn", 0),
        (ClassifierConfig, "classifier", 0),
        (SPPNetConfig, "sppnet", 5),
        (FastRCNNConfig, "fast_rcnn", 5),
    ],
)
def test_only_maps_that_regions_are_taken_from_are_padded(kind: Any, name: str, padding: int) -> None:
    spec = kind.model_validate({"type": name, "backbone": {**BACKBONE, "width": 0.05}})
    (backbone,) = (each for each in build_detector(spec, 2, 0).modules() if isinstance(each, CaffeNet))
    convs = [layer for layer in backbone.features if isinstance(layer, nn.Conv2d)]
    pools = [layer for layer in backbone.features if isinstance(layer, nn.MaxPool2d)]
    assert convs[0].padding == (padding, padding)
    assert {pool.padding for pool in pools} == {padding // 5}


def test_freezing_goes_from_the_input_on() -> None:
    assert min(int(name.split(".")[1]) for name in trainable(CaffeNet(width=0.125, freeze_at=1))) == 4


def test_a_crop_too_small_for_the_poolings_is_refused() -> None:
    spec = {"type": "rcnn", "backbone": {**BACKBONE, "width": 0.05}}
    small = {"type": "warp", "size": 22, "context_px": 1}
    with pytest.raises(ValueError, match=r"size must be at least 23 with backbone: caffenet, got 22"):
        RCNNConfig.model_validate({**spec, "regions": small})
    least = build_detector(RCNNConfig.model_validate({**spec, "regions": {**small, "size": 23}}), 2, 0)
    assert isinstance(least, RCNN)
    assert torch.isfinite(least.network(torch.zeros(1, 3, 23, 23))).all()
    with pytest.raises(RuntimeError):
        least.network(torch.zeros(1, 3, 22, 22))
