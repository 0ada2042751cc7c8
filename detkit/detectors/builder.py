"""The `detector` of a config -> a model."""

from __future__ import annotations

import torch
from torch import nn

from detkit.detectors.config import DetectorConfig
from detkit.detectors.families import family_of
from detkit.detectors.shared_parts import OnWeights
from detkit.spec import OwnPart


def build_detector(
    config: DetectorConfig,
    num_classes: int,
    seed: int = 0,
    *,
    backbone: nn.Module | None = None,
    pretrained: bool = True,
    on_weights: OnWeights = lambda report: None,
) -> nn.Module:
    """Return the model that a config describes, in training mode, on the CPU, channels-last.

    Args:
        config: the config's `detector`.
        num_classes: K, without background.
        seed: seeds the weights that no file gives; the caller's random state stays as it is.
        backbone: a module of the caller's own in the place of the config's backbone, with its weights: it
            takes (B, 3, H, W) normalised images, returns a list of feature maps, finest first, and has their
            `channels` and `strides`.
        pretrained: False leaves `backbone.weights` unread, for a model that gets all its weights afterwards.
        on_weights: hears what became of pretrained weights.

    Raises:
        UserError: If weights cannot be read or a part does not fit.
    """
    if backbone is not None:
        config = config.model_copy(update={"backbone": OwnPart(part=backbone)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family_of(config).build(config, num_classes, on_weights if pretrained else None)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            # A copy, because `contiguous` leaves the strides of a 1x1 kernel, and gradients come with others.
            copy = torch.empty_like(parameter.data, memory_format=torch.channels_last)
            parameter.data = copy.copy_(parameter.data)
    return model
