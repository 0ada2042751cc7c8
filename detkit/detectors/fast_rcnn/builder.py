"""A Fast R-CNN of a config -> the model."""

from __future__ import annotations

from typing import cast

from torch import nn

from detkit.detectors.fast_rcnn import model as fast_rcnn
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.shared_parts import OnWeights, build_shared_parts
from detkit.models.roi.box_heads import BoxHead
from detkit.models.roi.decision import SVMScores


def build_fast_rcnn(spec: FastRCNNConfig, num_classes: int, on_weights: OnWeights | None) -> nn.Module:
    """Return a Fast R-CNN.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        on_weights: called with what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    parts = build_shared_parts(spec, num_classes, on_weights)
    if spec.svms is not None:
        parts.roi_head.predictor.svms = SVMScores(cast(BoxHead, parts.roi_head.head).channels, num_classes)
    shrunk = [short / spec.scales_px[-1] for short in reversed(spec.scales_px)]
    return fast_rcnn.FastRCNN(parts.backbone, parts.neck, parts.roi_head, shrunk[1:])
