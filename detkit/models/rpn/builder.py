"""The `proposals` of a config with a proposal network of its own -> a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from detkit.capabilities import ProposesRegions
from detkit.errors import UserError
from detkit.models.custom_builder import custom_module
from detkit.models.rpn.config import AnyRPNConfig, RPNConfig
from detkit.models.rpn.rpn import RPN, Limits
from detkit.models.rpn.rpn_head import RPNHead
from detkit.ops.anchors import AnchorGrid
from detkit.ops.sampling import Sampler
from detkit.spec import CustomConfig


def build_rpn(spec: AnyRPNConfig, channels: Sequence[int], strides: Sequence[int]) -> ProposesRegions:
    """Return what proposes regions from maps of the image.

    Args:
        spec: the config's `detector.proposals`.
        channels: those of the maps, finest first.
        strides: pixels per cell of each.

    Raises:
        UserError: the anchors do not go with the maps, or a module of the user's own does not fit.
    """
    if isinstance(spec, CustomConfig):
        wanted = ("losses", "propose", "train_limits", "test_limits")
        own = custom_module("proposals", spec, wanted, channels=tuple(channels), strides=tuple(strides))
        return cast(ProposesRegions, own)
    return _rpn(spec, channels, strides)


def _rpn(spec: RPNConfig, channels: Sequence[int], strides: Sequence[int]) -> RPN:
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
    if len(set(channels)) > 1:
        raise UserError(f"proposals: rpn needs feature maps of one number of channels, got {list(channels)}")
    head = RPNHead(
        channels[0],
        channels=spec.channels or channels[0],
        num_convs=spec.num_convs,
        num_anchors=grid.num_per_cell[0],
        objectness=spec.objectness,
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
        score_threshold=spec.score_threshold,
        nms_iou=spec.nms_iou,
        min_size_px=spec.min_size_px,
        over=anchors.over,
    )
