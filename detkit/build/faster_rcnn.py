"""A Faster R-CNN of a config -> the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import nn

from detkit.build.backbone import build_backbone, build_neck, custom_module, load_pretrained
from detkit.build.roi_head import build_box_head, build_pool, build_roi_head, pretrained_parts
from detkit.config.faster_rcnn import FasterRCNN
from detkit.config.neck import FPN
from detkit.config.proposal import RPN as RPNSpec
from detkit.config.spec import Custom
from detkit.detectors import faster_rcnn
from detkit.errors import UserError
from detkit.models.region_features import RegionFeatures
from detkit.models.roi_head import RoIHead
from detkit.models.rpn import RPN, Limits, RPNHead
from detkit.models.weights import LoadReport
from detkit.ops.anchors import AnchorGrid
from detkit.ops.sampling import Sampler

OnWeights = Callable[[LoadReport], None]


def build_faster_rcnn(spec: FasterRCNN, num_classes: int, on_weights: OnWeights | None) -> nn.Module:
    """Return a Faster R-CNN.

    Args:
        spec: the config's `detector`.
        num_classes: K, without background.
        on_weights: told what became of pretrained weights; None leaves them unread.

    Raises:
        UserError: weights cannot be read or a part does not fit.
    """
    pyramid = isinstance(spec.neck, FPN)
    backbone = build_backbone(spec.backbone, pyramid=pyramid)
    channels, strides = cast(Sequence[int], backbone.channels), cast(Sequence[int], backbone.strides)
    neck = build_neck(spec.neck, channels, strides)
    # Only proposals are made from a pyramid's last map.
    features = RegionFeatures(build_pool(spec.regions), neck.strides[: len(strides)])
    parts: dict[str, nn.Module] = {"": backbone}
    if isinstance(spec.head, Custom):
        own = custom_module(
            "head",
            spec.head,
            ("losses", "detect"),
            features=features,
            channels=neck.channels[0],
            size=spec.regions.size,
            num_classes=num_classes,
        )
        roi_head = cast(RoIHead, own)
    else:
        box_head = build_box_head(spec.head, spec.backbone, backbone, neck.channels[0], spec.regions.size)
        parts |= pretrained_parts(spec.head, box_head, backbone)
        roi_head = build_roi_head(spec.head, features, box_head, num_classes)
    if on_weights is not None and not isinstance(spec.backbone, Custom) and spec.backbone.weights != "none":
        on_weights(load_pretrained(spec.backbone, parts))
    rpn = _rpn(spec.proposals, neck.channels, neck.strides)
    return faster_rcnn.FasterRCNN(backbone, neck, rpn, roi_head)


def _rpn(spec: RPNSpec, channels: Sequence[int], strides: Sequence[int]) -> RPN:
    anchors = spec.anchors
    grid = AnchorGrid(anchors.sizes_px, anchors.ratios, anchors.rounding, anchors.offset)
    if len(set(grid.num_per_cell)) != 1:
        raise UserError(
            "proposals.anchors.sizes_px: every feature map needs the same number of sizes, because they "
            f"share one network; got {[len(sizes) for sizes in anchors.sizes_px]}"
        )
    if len(strides) != len(anchors.sizes_px):
        raise UserError(
            f"proposals.anchors.sizes_px: {len(anchors.sizes_px)} lists of sizes, "
            f"but there are {len(strides)} feature maps"
        )
    head = RPNHead(
        channels[0],
        channels=spec.channels or channels[0],
        num_convs=spec.num_convs,
        num_anchors=grid.num_per_cell[0],
    )
    return RPN(
        head,
        grid,
        strides,
        border_px=spec.border_px,
        fg_iou=spec.fg_iou,
        bg_iou=spec.bg_iou,
        crowd_iou=spec.crowd_iou,
        sampler=Sampler(spec.batch_per_image, spec.fg_fraction),
        beta=spec.beta,
        box_loss_weight=spec.box_loss_weight,
        normalize_by=spec.normalize_by,
        train_limits=Limits(spec.pre_nms_train, spec.post_nms_train),
        test_limits=Limits(spec.pre_nms_test, spec.post_nms_test),
        nms_iou=spec.nms_iou,
        min_size_px=spec.min_size_px,
    )
