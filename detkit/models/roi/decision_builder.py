"""`head` and `box_regression` of R-CNN and SPP-net -> their decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from detkit.capabilities import Layer
from detkit.models.custom_builder import custom_module
from detkit.models.roi.decision import RidgeDeltas, StagedDecision, SVMScores
from detkit.models.roi.decision_config import (
    AnyDecisionConfig,
    BoxRegressionConfig,
    DecisionConfig,
    SVMDecisionConfig,
)
from detkit.models.roi.selection import Selection
from detkit.spec import CustomConfig


def build_decision(
    head: AnyDecisionConfig,
    box_regression: BoxRegressionConfig | None,
    widths: Mapping[Layer, int],
    num_classes: int,
) -> StagedDecision:
    """Return a decision whose SVMs detect nothing yet and whose regression leaves boxes as they are.

    Args:
        head: how it scores.
        box_regression: how it moves boxes; None leaves them as they are proposed.
        widths: the layers of the network, and the length of their vectors.
        num_classes: K, without background.

    Raises:
        UserError: a decision of the user's own cannot be made or does not fit.
    """
    if isinstance(head, CustomConfig):
        wanted = ("layer", "loss", "scores", "deltas")
        own = custom_module("head", head, wanted, widths=dict(widths), num_classes=num_classes)
        return cast(StagedDecision, own)
    svms = None
    if isinstance(head, SVMDecisionConfig):
        svms = SVMScores(widths[head.features], num_classes), head.features
    deltas = RidgeDeltas(widths["pool5"], num_classes) if box_regression else None
    return StagedDecision(widths, num_classes, svms, deltas)


def selection_of(head: AnyDecisionConfig) -> Selection:
    """Return what is reported, by the keys of a head; with one of the user's own, by their defaults."""
    keys = DecisionConfig() if isinstance(head, CustomConfig) else head
    return Selection(keys.score_threshold, keys.nms_iou, keys.detections_per_class, None)


def dropout_of(head: AnyDecisionConfig) -> float:
    """Return the fraction of activations dropped after fc6 and fc7 in fine-tuning."""
    return DecisionConfig().dropout if isinstance(head, CustomConfig) else head.dropout
