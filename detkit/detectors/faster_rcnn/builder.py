"""A Faster R-CNN of a config -> the model."""

from __future__ import annotations

from torch import nn

from detkit.detectors.faster_rcnn import model as faster_rcnn
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.shared_parts import OnWeights, build_shared_parts
from detkit.models.rpn.builder import build_rpn


def build_faster_rcnn(spec: FasterRCNNConfig, num_classes: int, on_weights: OnWeights | None) -> nn.Module:
    """Return a Faster R-CNN.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        on_weights: called with what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    parts = build_shared_parts(spec, num_classes, on_weights)
    neck = parts.neck
    rpn = build_rpn(spec.proposals, neck.channels, neck.strides)
    return faster_rcnn.FasterRCNN(parts.backbone, neck, rpn, parts.roi_head)
