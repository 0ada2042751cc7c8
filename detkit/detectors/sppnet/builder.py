"""An SPP-net of a config -> the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import nn

from detkit.detectors.shared_parts import OnWeights
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.detectors.sppnet.model import PyramidNetwork, SPPNet
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import family_of
from detkit.models.roi.box_heads import FcHead
from detkit.models.roi.builder import build_custom_features, build_decision, dropout_of, selection_of
from detkit.models.roi.region_features import CustomRegionFeatures, RegionFeatures, nearest_side
from detkit.ops.spatial_pyramid import spatial_pyramid_pool
from detkit.spec import CustomConfig


def build_sppnet(spec: SPPNetConfig, num_classes: int, on_weights: OnWeights | None) -> SPPNet:
    """Return the SPP-net of a config, whose decision is yet to be fitted; see `DetectorFamily`."""
    network = _network(spec, on_weights)
    return SPPNet(
        network,
        build_decision(spec.head, spec.box_regression, network.widths, num_classes),
        num_classes=num_classes,
        selection=selection_of(spec.head),
        copy_for_each=spec.copy_for_each,
    )


def _network(spec: SPPNetConfig, on_weights: OnWeights | None) -> PyramidNetwork:
    """Return a backbone, with fc6 and fc7 where its network has them, and its pretrained weights."""
    backbone = build_backbone(spec.backbone, pyramid=False)
    channels = cast(Sequence[int], backbone.channels)[-1]
    factors = [short / spec.scales_px[-1] for short in reversed(spec.scales_px)] or [1.0]
    features, width = _features(spec, channels, cast(Sequence[int], backbone.strides)[-1], factors)
    levels = () if isinstance(spec.regions, CustomConfig) else spec.regions.levels
    fc, parts = None, {}
    own = None if isinstance(spec.backbone, CustomConfig) else family_of(spec.backbone).fc
    if own is not None:
        fc_channels = cast(int, backbone.fc_channels)
        fc = FcHead(width, 1, channels=fc_channels, dropout=dropout_of(spec.head))
        if own.cells in levels:
            pretrained = nn.Linear(channels * own.cells * own.cells, fc_channels)
            parts = dict(zip(own.keys, (pretrained, fc.fc7), strict=True))
    if (
        on_weights is not None
        and not isinstance(spec.backbone, CustomConfig)
        and spec.backbone.weights != "none"
    ):
        on_weights(load_pretrained(spec.backbone, {"": backbone, **parts}))
        if fc is not None and own is not None and parts:
            _spread(pretrained, cast(nn.Linear, fc.fc6), channels, levels, own.cells)
    return PyramidNetwork(backbone, features, fc, copies=factors[1:], pool5_width=width)


def _features(
    spec: SPPNetConfig, channels: int, stride: int, factors: Sequence[float]
) -> tuple[RegionFeatures | CustomRegionFeatures, int]:
    """Return what takes regions' features from the copies of an image, and how long their vectors are."""
    if isinstance(spec.regions, CustomConfig):
        own = build_custom_features(spec.regions, (channels,), (stride,))
        return own, own.channels * own.size**2
    levels = spec.regions.levels
    strides = [stride / factor for factor in factors]
    shift = 0.0
    if not isinstance(spec.backbone, CustomConfig):
        family = family_of(spec.backbone)
        shift = family.cell_offset[family.strides.index(stride)] - 0.5 / stride
    pool = partial(spatial_pyramid_pool, levels=levels, shift=shift)
    width = channels * sum(level * level for level in levels)
    return RegionFeatures(pool, strides, level=nearest_side, inclusive=True), width


@torch.no_grad()
def _spread(pretrained: nn.Linear, fc6: nn.Linear, channels: int, levels: Sequence[int], cells: int) -> None:
    """Give fc6 what was trained on one grid; from the others of the pyramid nothing comes at first."""
    before = channels * sum(level * level for level in levels[: levels.index(cells)])
    fc6.weight.zero_()
    fc6.weight[:, before : before + pretrained.in_features] = pretrained.weight
    fc6.bias.copy_(pretrained.bias)
