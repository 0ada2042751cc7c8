"""A Faster R-CNN of a config -> the model."""

from __future__ import annotations

from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.detectors.shared_parts import OnWeights, build_shared_parts
from detkit.models.rpn.builder import build_rpn


def build_faster_rcnn(spec: FasterRCNNConfig, num_classes: int, on_weights: OnWeights | None) -> FasterRCNN:
    """Return the Faster R-CNN of a config; see `DetectorFamily`."""
    backbone, neck, roi_head = build_shared_parts(spec, num_classes, on_weights)
    rpn = build_rpn(spec.proposals, neck.channels, neck.strides)
    model = FasterRCNN(backbone, neck, rpn, roi_head)
    model.multiple_of = spec.multiple_of
    return model
