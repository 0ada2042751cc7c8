"""A DPM-CNN of a config -> the model."""

from __future__ import annotations

from detkit.detectors.dpm_cnn.config import DPMCNNConfig
from detkit.detectors.dpm_cnn.latent import LatentSVM
from detkit.detectors.dpm_cnn.model import DPMCNN, BoxTraining, PlacementSelection
from detkit.detectors.dpm_cnn.pyramid import DeepPyramid
from detkit.detectors.dpm_cnn.stars import Stars
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import family_of
from detkit.spec import CustomConfig


def build_dpm_cnn(spec: DPMCNNConfig, num_classes: int, on_weights: OnWeights | None) -> DPMCNN:
    """Return the DPM-CNN of a config; see `DetectorFamily`."""
    backbone, cell_offset = build_backbone(spec.backbone, pyramid=False), 0.5
    if not isinstance(spec.backbone, CustomConfig):
        family = family_of(spec.backbone)
        cell_offset = family.cell_offset[family.strides.index(16)]
        if on_weights is not None and spec.backbone.weights != "none":
            on_weights(load_pretrained(spec.backbone, {"": backbone}))
    where, what, how = spec.proposals, spec.regions, spec.head
    pyramid = DeepPyramid(
        backbone,
        levels=what.levels,
        scale_step=what.scale_step,
        pool_cells=what.pool_cells,
        scale=what.scale,
        cell_offset=cell_offset,
    )
    components = [
        Stars(
            pyramid.channels,
            num_classes,
            root,
            num_parts=where.parts,
            part=where.part_size,
            reach=where.reach,
            regresses=how.box_regression,
        )
        for root in where.roots
    ]
    return DPMCNN(
        pyramid,
        components,
        latent=LatentSVM(how.fg_iou, how.negative_iou, how.negatives_per_image),
        boxes=BoxTraining(how.box_iou, how.box_loss_weight),
        selection=PlacementSelection(how.margin_threshold, how.nms_iou, how.detections_per_image),
    )
