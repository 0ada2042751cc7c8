"""An R-CNN of a config -> the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.rcnn.model import RCNN, CropNetwork, Crops
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import AnyBackboneConfig, family_of
from detkit.models.roi.box_heads import MeanHead
from detkit.models.roi.builder import (
    build_decision,
    build_own_head,
    dropout_of,
    selection_of,
    weight_parts,
)
from detkit.spec import CustomConfig


def build_crop_network(spec: AnyBackboneConfig, dropout: float, on_weights: OnWeights | None) -> CropNetwork:
    """Return a backbone with the rest of its network but the last layer, with its pretrained weights.

    Args:
        spec: the config's `detector.backbone`.
        dropout: share of activations dropped after fc6 and fc7 while training.
        on_weights: see `DetectorFamily`.
    """
    backbone = build_backbone(spec, pyramid=False, crops=True)
    if isinstance(spec, CustomConfig):
        return CropNetwork(backbone, MeanHead(cast(Sequence[int], backbone.channels)[-1]), 1)
    fc = family_of(spec).fc
    cells = fc.cells if fc else 1
    head = build_own_head(spec, backbone, cells, dropout=dropout)
    if on_weights is not None and spec.weights != "none":
        on_weights(load_pretrained(spec, {"": backbone, **weight_parts(spec, head)}))
    return CropNetwork(backbone, head, cells)


def build_rcnn(spec: RCNNConfig, num_classes: int, on_weights: OnWeights | None) -> RCNN:
    """Return the R-CNN of a config, whose decision is yet to be fitted; see `DetectorFamily`."""
    network = build_crop_network(spec.backbone, dropout_of(spec.head), on_weights)
    regions = spec.regions
    return RCNN(
        network,
        build_decision(spec.head, spec.box_regression, network.widths, num_classes),
        num_classes=num_classes,
        crops=Crops(regions.size, regions.context_px, regions.mode == "square", regions.at_once),
        selection=selection_of(spec.head),
    )
