"""A Fast R-CNN of a config -> the model."""

from __future__ import annotations

from typing import cast

from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.shared_parts import OnWeights, build_shared_parts
from detkit.models.roi.box_heads import BoxHead
from detkit.models.roi.decision import SVMScores


def build_fast_rcnn(spec: FastRCNNConfig, num_classes: int, on_weights: OnWeights | None) -> FastRCNN:
    """Return the Fast R-CNN of a config; see `DetectorFamily`."""
    backbone, neck, roi_head = build_shared_parts(spec, num_classes, on_weights)
    if spec.svms is not None:
        roi_head.predictor.svms = SVMScores(cast(BoxHead, roi_head.head).channels, num_classes)
    factors = [short / spec.scales_px[-1] for short in reversed(spec.scales_px)]
    model = FastRCNN(backbone, neck, roi_head, factors[1:])
    model.multiple_of = spec.multiple_of
    return model
