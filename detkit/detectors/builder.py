"""The `detector` of a config -> a model."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from detkit.detectors.classifier.builder import build_classifier
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.fast_rcnn.builder import build_fast_rcnn
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.builder import build_faster_rcnn
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.rcnn.builder import build_rcnn
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.shared_parts import OnWeights
from detkit.detectors.sppnet.builder import build_sppnet
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.detectors.union import AnyDetectorConfig
from detkit.models.backbones.builder import custom_module
from detkit.spec import CustomConfig


def build_detector(
    spec: AnyDetectorConfig,
    num_classes: int,
    seed: int,
    *,
    pretrained: bool = True,
    on_weights: OnWeights = lambda report: None,
) -> nn.Module:
    """Return the model that a config describes, in training mode, on the CPU, channels-last.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        seed: seeds the weights that no file gives; the caller's random state stays as it is.
        pretrained: False leaves `backbone.weights` unread, for a model that gets all its weights afterwards.
        on_weights: told what became of pretrained weights.

    Raises:
        UserError: If weights cannot be read or a part does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match spec:
            case FasterRCNNConfig():
                model = build_faster_rcnn(spec, num_classes, on_weights if pretrained else None)
            case FastRCNNConfig():
                model = build_fast_rcnn(spec, num_classes, on_weights if pretrained else None)
            case ClassifierConfig():
                model = build_classifier(spec, num_classes, on_weights if pretrained else None)
            case RCNNConfig():
                model = build_rcnn(spec, num_classes, on_weights if pretrained else None)
            case SPPNetConfig():
                model = build_sppnet(spec, num_classes, on_weights if pretrained else None)
            case CustomConfig():
                model = custom_module("detector", spec, ("detect",), num_classes=num_classes)
            case _:
                assert_never(spec)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            # A copy, because `contiguous` leaves the strides of a 1x1 kernel, and gradients come with others.
            laid = torch.empty_like(parameter.data, memory_format=torch.channels_last)
            parameter.data = laid.copy_(parameter.data)
    return model
