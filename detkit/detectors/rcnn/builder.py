"""An R-CNN of a config -> the model."""

from __future__ import annotations

from torch import nn

from detkit.detectors.rcnn import model as rcnn
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.rcnn.network_builder import build_crop_network
from detkit.detectors.shared_parts import OnWeights
from detkit.models.roi.builder import build_decision, dropout_of, selection_of


def build_rcnn(spec: RCNNConfig, num_classes: int, on_weights: OnWeights | None) -> nn.Module:
    """Return an R-CNN whose SVMs find nothing yet and whose regression leaves boxes as they are.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        on_weights: called with what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    network = build_crop_network(spec.backbone, dropout_of(spec.head), on_weights)
    regions = spec.regions
    return rcnn.RCNN(
        network,
        build_decision(spec.head, spec.box_regression, network.widths, num_classes),
        num_classes=num_classes,
        crops=rcnn.Crops(regions.size, regions.context_px, regions.mode == "square", regions.at_once),
        selection=selection_of(spec.head),
    )
