"""A Cascade R-CNN of a config -> the model."""

from __future__ import annotations

import copy
from typing import cast

from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig, LaterStageConfig
from detkit.detectors.cascade_rcnn.model import CascadeRCNN, Everything
from detkit.detectors.shared_parts import OnWeights, build_shared_parts
from detkit.models.initialisation import he_normal
from detkit.models.roi.box_heads import BoxHead
from detkit.models.roi.builder import build_roi_head
from detkit.models.roi.config import OWN_HEADS
from detkit.models.roi.head_config import HeadConfig
from detkit.models.roi.roi_head import RoIHead
from detkit.models.rpn.builder import build_rpn


def build_cascade_rcnn(
    spec: CascadeRCNNConfig, num_classes: int, on_weights: OnWeights | None
) -> CascadeRCNN:
    """Return the Cascade R-CNN of a config; see `DetectorFamily`."""
    backbone, neck, first = build_shared_parts(spec, num_classes, on_weights)
    rpn = build_rpn(spec.proposals, neck.channels, neck.strides)
    head, later = cast(HeadConfig, spec.head), spec.later_stages
    model = CascadeRCNN(
        backbone,
        neck,
        rpn,
        [first, *(_later_stage(stage, head, first) for stage in later)],
        loss_weights=[1.0, *(stage.loss_weight for stage in later)],
        feature_gradients=[spec.feature_gradient, *(stage.feature_gradient for stage in later)],
        scores=spec.scores,
    )
    model.multiple_of = spec.multiple_of
    return model


def _later_stage(stage: LaterStageConfig, head: HeadConfig, first: RoIHead) -> RoIHead:
    layers = copy.deepcopy(first.head)
    if not isinstance(head, OWN_HEADS):  # a backbone's own layers start from its weights in every stage
        he_normal(layers)
    keys = {
        "fg_iou": stage.fg_iou,
        "bg_iou": (min(head.bg_iou[0], stage.fg_iou), stage.fg_iou),
        "box_weights": stage.box_weights,
    }
    own = build_roi_head(
        head.model_copy(update=keys), first.features, cast(BoxHead, layers), first.num_classes
    )
    own.sampler = Everything(head.batch_per_image, head.fg_fraction)
    return own
