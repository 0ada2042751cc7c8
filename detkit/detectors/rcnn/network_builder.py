"""The `backbone` of a detector that reads cut out regions -> its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from detkit.detectors.rcnn.crop_network import CropNetwork
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import AnyBackboneConfig, family_of
from detkit.models.roi.box_heads import MeanHead
from detkit.models.roi.builder import build_own_head, weight_parts
from detkit.spec import CustomConfig


def build_crop_network(spec: AnyBackboneConfig, dropout: float, on_weights: OnWeights | None) -> CropNetwork:
    """Return a backbone with the rest of its network but the last layer, with its pretrained weights.

    Args:
        spec: the config's `detector.backbone`.
        dropout: share of activations dropped after fc6 and fc7 while training.
        on_weights: called with what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    backbone = build_backbone(spec, pyramid=False)
    if isinstance(spec, CustomConfig):
        return CropNetwork(backbone, MeanHead(cast(Sequence[int], backbone.channels)[-1]), 1)
    fc = family_of(spec).fc
    cells = fc.cells if fc else 1
    head = build_own_head(spec, backbone, cells, dropout=dropout)
    if on_weights is not None and spec.weights != "none":
        on_weights(load_pretrained(spec, {"": backbone, **weight_parts(spec, head)}))
    return CropNetwork(backbone, head, cells)
