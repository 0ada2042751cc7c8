"""OverFeat of a config -> the model."""

from __future__ import annotations

from typing import cast

from torch import nn

from detkit.detectors.overfeat.config import DenseSoftmaxConfig, OverFeatConfig
from detkit.detectors.overfeat.model import Merging, OverFeat
from detkit.detectors.overfeat.training import WindowTraining
from detkit.detectors.overfeat.windows import OffsetPool, WindowLayers
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import family_of
from detkit.models.map_pyramid import MapPyramid
from detkit.spec import CustomConfig

PAPERS_CHANNELS = 4096


def build_overfeat(spec: OverFeatConfig, num_classes: int, on_weights: OnWeights | None) -> OverFeat:
    """Return the OverFeat of a config; see `DetectorFamily`."""
    backbone = build_backbone(spec.backbone, pyramid=False)
    pyramid = MapPyramid(backbone, spec.proposals.scales)
    classifier, regressor = _layers(spec, pyramid, num_classes)
    if not isinstance(spec.backbone, CustomConfig):
        family = family_of(spec.backbone)
        pyramid.cell_offset = family.cell_offset[family.strides.index(16)]
        if on_weights is not None and spec.backbone.weights != "none":
            parts: dict[str, nn.Module] = {"": backbone}
            if family.fc and spec.has_own_layers:
                parts |= dict(zip(family.fc.keys, (classifier.fc6, classifier.fc7), strict=True))
            on_weights(load_pretrained(spec.backbone, parts))
    what, how = spec.regions, spec.head
    return OverFeat(
        pyramid,
        OffsetPool(what.size, what.stride, spec.cells, what.fine_stride),
        classifier,
        regressor,
        training=_training(how),
        merging=Merging(
            how.score_threshold, how.windows_per_class, how.merge_below, how.detections_per_image
        ),
    )


def _layers(spec: OverFeatConfig, pyramid: MapPyramid, num_classes: int) -> tuple[WindowLayers, WindowLayers]:
    """Return the network of the classes and that of the boxes, from scratch."""
    how, own = spec.head, spec.has_own_layers
    width = how.channels or (cast(int, pyramid.backbone.fc_channels) if own else PAPERS_CHANNELS)
    per_class = 4 if how.per_class_boxes else 0
    classifier, regressor = (
        WindowLayers(
            pyramid.channels,
            spec.cells,
            channels=channels,
            outputs=outputs,
            per_class=of_class,
            dropout=how.dropout,
        )
        for channels, outputs, of_class in (
            ((width, width), num_classes + 1, 1),
            (how.box_channels, per_class * num_classes or 4, per_class),
        )
    )
    return classifier, regressor


def _training(how: DenseSoftmaxConfig) -> WindowTraining:
    return WindowTraining(
        how.batch_per_image,
        how.fg_fraction,
        how.fg_iou,
        how.bg_iou,
        how.negatives,
        how.box_overlap,
        how.box_loss_weight,
        how.boxes_train_backbone,
    )
