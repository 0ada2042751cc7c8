"""An R-CNN of a config -> the model."""

from __future__ import annotations

from torch import nn

from detkit.detectors.rcnn import model as rcnn
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.rcnn.network_builder import build_crop_network
from detkit.detectors.shared_parts import OnWeights
from detkit.models.roi.class_boxes import ClassBoxes
from detkit.models.roi.decision_config import SVMDecisionConfig
from detkit.models.roi.svm_decision import RidgeDeltas, SVMScores


def build_rcnn(spec: RCNNConfig, num_classes: int, on_weights: OnWeights | None) -> nn.Module:
    """Return an R-CNN whose SVMs find nothing yet and whose regression leaves boxes as they are.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        on_weights: told what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    network = build_crop_network(spec.backbone, spec.head.dropout, on_weights)
    svms = None
    if isinstance(spec.head, SVMDecisionConfig):
        layer = spec.head.features
        svms = SVMScores(network.widths[layer], num_classes), layer
    deltas = RidgeDeltas(network.widths["pool5"], num_classes) if spec.box_regression else None
    regions, head = spec.regions, spec.head
    return rcnn.RCNN(
        network,
        rcnn.Crops(regions.size, regions.context_px, regions.mode == "square", regions.at_once),
        num_classes=num_classes,
        svms=svms,
        box_deltas=deltas,
        report=ClassBoxes(head.score_threshold, head.nms_iou, head.detections_per_class),
    )
