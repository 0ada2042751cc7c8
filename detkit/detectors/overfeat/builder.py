"""OverFeat of a config -> the model."""

from __future__ import annotations

from typing import cast

from torch import nn

from detkit.detectors.overfeat.config import OverFeatConfig
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
    backbone, how, what = build_backbone(spec.backbone, pyramid=False), spec.head, spec.regions
    width = how.channels or (cast(int, backbone.fc_channels) if spec.has_own_layers else PAPERS_CHANNELS)
    parts: dict[str, nn.Module] = {"": backbone}
    cell_offset = 0.5
    if not isinstance(spec.backbone, CustomConfig):
        family = family_of(spec.backbone)
        cell_offset = family.cell_offset[family.strides.index(16)]
    pyramid = MapPyramid(backbone, spec.proposals.scales, cell_offset=cell_offset)
    channels, cells = pyramid.channels, spec.cells
    classifier = WindowLayers(
        channels,
        cells,
        channels=(width, width),
        outputs=num_classes + 1,
        per_class=1,
        dropout=how.dropout,
    )
    of_class = 4 if how.per_class_boxes else 0
    regressor = WindowLayers(
        channels,
        cells,
        channels=how.box_channels,
        outputs=of_class * num_classes or 4,
        per_class=of_class,
        dropout=how.dropout,
    )
    if (
        on_weights is not None
        and not isinstance(spec.backbone, CustomConfig)
        and spec.backbone.weights != "none"
    ):
        if spec.has_own_layers and family.fc:
            parts |= dict(zip(family.fc.keys, (classifier.fc6, classifier.fc7), strict=True))
        on_weights(load_pretrained(spec.backbone, parts))
    return OverFeat(
        pyramid,
        OffsetPool(what.size, what.stride, cells, what.fine_stride),
        classifier,
        regressor,
        training=WindowTraining(
            how.batch_per_image,
            how.fg_fraction,
            how.fg_iou,
            how.bg_iou,
            how.negatives,
            how.box_overlap,
            how.box_loss_weight,
            how.boxes_train_backbone,
        ),
        merging=Merging(
            how.score_threshold, how.windows_per_class, how.merge_below, how.detections_per_image
        ),
    )
