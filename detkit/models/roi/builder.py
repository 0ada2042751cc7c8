"""The `regions`, `head` and `box_regression` of a config -> modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, assert_never, cast

from torch import nn

from detkit.capabilities import Layer
from detkit.errors import UserError
from detkit.models.backbones.families import AnyBackboneConfig, any_of, family_of, owners_of
from detkit.models.backbones.family import FcLayers, LastStage
from detkit.models.custom_builder import custom_module
from detkit.models.roi.box_heads import BoxHead, BoxPredictor, ConvFcHead, FcHead, LastStageHead
from detkit.models.roi.config import (
    AnyRegionsConfig,
    ConvFcHeadConfig,
    RoIAlignConfig,
    RoIPoolConfig,
    TwoFcHeadConfig,
)
from detkit.models.roi.decision import RidgeDeltas, StagedDecision, SVMScores
from detkit.models.roi.decision_config import (
    AnyDecisionConfig,
    BoxRegressionConfig,
    DecisionConfig,
    SVMDecisionConfig,
)
from detkit.models.roi.head_config import Fc6Fc7HeadConfig, FcHeadConfig, HeadConfig
from detkit.models.roi.region_features import CustomRegionFeatures, Level, RegionFeatures
from detkit.models.roi.roi_head import RoIHead
from detkit.models.roi.selection import Selection
from detkit.ops.coding import BoxCoder
from detkit.ops.roi_align import roi_align, roi_align_pyramid
from detkit.ops.roi_pool import roi_pool, rounded_edges
from detkit.ops.sampling import Sampler
from detkit.spec import CustomConfig


def build_features(
    spec: AnyRegionsConfig, channels: Sequence[int], strides: Sequence[float], level: Level | None = None
) -> RegionFeatures | CustomRegionFeatures:
    """Return what takes regions' features from maps.

    Args:
        spec: the config's `detector.regions`.
        channels: channels of the maps.
        strides: pixels per cell of the maps, finest first.
        level: chooses among several maps; None is that of a feature pyramid.

    Raises:
        UserError: If a module of the user's own does not fit, or the maps do not.
    """
    if isinstance(spec, CustomConfig):
        return build_custom_features(spec, channels, strides)
    if len(set(channels)) > 1:
        raise UserError(f"regions: {spec.type} needs maps of one number of channels, got {list(channels)}")
    if level is None and any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise UserError(
            f"regions: {spec.type} takes each region from the map that fits its size, and needs maps whose "
            f"strides double from one to the next, got {list(strides)}"
        )
    match spec:
        case RoIPoolConfig():
            pool = partial(roi_pool, size=spec.size)
            return RegionFeatures(pool, strides, level=level, rounding=rounded_edges, inclusive=True)
        case RoIAlignConfig():
            options: dict[str, Any] = spec.model_dump(include={"size", "sampling_ratio", "aligned"})
            return RegionFeatures(
                partial(roi_align, **options), strides, partial(roi_align_pyramid, **options), level=level
            )
        case _:
            assert_never(spec)


def build_custom_features(
    spec: CustomConfig, channels: Sequence[int], strides: Sequence[float]
) -> CustomRegionFeatures:
    """Return a user's own module that takes regions' features from maps.

    Args:
        spec: the config's `detector.regions`.
        channels: channels of the maps.
        strides: pixels per cell of the maps, finest first.

    Raises:
        UserError: If it cannot be made or does not say the shape of what it returns.
    """
    given = {"channels": tuple(channels), "strides": tuple(strides)}
    pool = custom_module("regions", spec, ("channels", "size"), **given)
    for name in ("channels", "size"):
        value = getattr(pool, name)
        if not isinstance(value, int) or value < 1:
            raise UserError(
                f"regions: {name} of what {spec.target} gives must be a positive integer, got {value!r}"
            )
    return CustomRegionFeatures(pool, strides, spec.target)


def build_box_head(
    spec: HeadConfig,
    backbone_spec: AnyBackboneConfig,
    backbone: nn.Module,
    channels: int,
    size: int,
    ranks: tuple[int | None, int | None],
) -> BoxHead:
    """Return what makes a vector of a region's features, from scratch.

    Args:
        spec: the config's `detector.head`.
        backbone_spec: the config's `detector.backbone`, whose own layers the head may be made of.
        backbone: what was built of it.
        channels: channels of the features.
        size: cells along each side of a region.
        ranks: of fc6 and fc7, where the head has them; None is a whole layer.

    Raises:
        UserError: If the head needs another backbone.
    """
    match spec:
        case TwoFcHeadConfig():
            return FcHead(channels, size, channels=spec.channels, dropout=0.0, ranks=ranks)
        case ConvFcHeadConfig():
            return ConvFcHead(
                channels,
                size,
                num_convs=spec.num_convs,
                conv_channels=spec.conv_channels,
                channels=spec.channels,
                norm=spec.norm,
            )
        case _:
            _require_own(spec, backbone_spec, backbone)
            own_channels = cast(Sequence[int], backbone.channels)[-1]
            if channels != own_channels:
                raise UserError(
                    f"head: {spec.type} is made for the {own_channels} channels of the backbone, and regions "
                    f"have {channels}; take two_fc or conv_fc"
                )
            dropout = spec.dropout if isinstance(spec, Fc6Fc7HeadConfig) else 0.0
            return build_own_head(backbone_spec, backbone, size, dropout=dropout, ranks=ranks)


def _require_own(spec: HeadConfig, backbone_spec: AnyBackboneConfig, backbone: nn.Module) -> None:
    owners = owners_of(spec.type)
    fits = isinstance(spec, Fc6Fc7HeadConfig) and hasattr(backbone, "fc_channels")
    if isinstance(backbone_spec, CustomConfig) and not fits:
        raise UserError(
            f"head: {spec.type} is a part of backbone: {any_of(owners)}; take two_fc with another"
        )


def build_own_head(
    spec: AnyBackboneConfig,
    backbone: nn.Module,
    size: int,
    *,
    dropout: float,
    ranks: tuple[int | None, int | None] = (None, None),
) -> FcHead | LastStageHead:
    """Return a network's own layers behind its last map, from scratch.

    Args:
        spec: the config's `detector.backbone`; one of the user's own is taken for one with fc6 and fc7.
        backbone: what was built of it.
        size: cells along each side that fc6 sees; a last stage takes any.
        dropout: fraction of activations dropped after fc6 and fc7.
        ranks: of fc6 and fc7; None is a whole layer.
    """
    if not isinstance(spec, CustomConfig):
        family = family_of(spec)
        if isinstance(family.behind, LastStage):
            return LastStageHead(family.build_last_stage(spec), family.channels(spec)[-1], family.head_name)
    channels, width = cast(Sequence[int], backbone.channels)[-1], cast(int, backbone.fc_channels)
    return FcHead(channels, size, channels=width, dropout=dropout, ranks=ranks)


def weight_parts(spec: AnyBackboneConfig, head: BoxHead) -> dict[str, nn.Module]:
    """Return the parts of a network's own head by what their keys begin with in its weight files.

    Args:
        spec: the config's `detector.backbone`.
        head: what `build_own_head` made of it.
    """
    behind = None if isinstance(spec, CustomConfig) else family_of(spec).behind
    if isinstance(behind, LastStage) and isinstance(head, LastStageHead):
        return {key: head.stage.get_submodule(part) for key, part in behind.parts.items()}
    if isinstance(behind, FcLayers) and isinstance(head, FcHead):
        return dict(zip(behind.keys, (head.fc6, head.fc7), strict=True))
    return {}


def ranks_of(spec: HeadConfig | CustomConfig) -> tuple[int | None, int | None]:
    """Return the ranks of fc6 and fc7; None is a whole layer, or none of that name."""
    return (spec.fc6_rank, spec.fc7_rank) if isinstance(spec, FcHeadConfig) else (None, None)


def build_roi_head(
    spec: HeadConfig, features: RegionFeatures | CustomRegionFeatures, box_head: BoxHead, num_classes: int
) -> RoIHead:
    """Return the head that classifies regions and refines their boxes."""
    return RoIHead(
        features,
        box_head,
        BoxPredictor(box_head.channels, num_classes, class_agnostic=spec.class_agnostic),
        num_classes=num_classes,
        sampler=Sampler(spec.batch_per_image, spec.fg_fraction),
        fg_iou=spec.fg_iou,
        bg_iou=spec.bg_iou,
        crowd_iou=spec.crowd_iou,
        add_ground_truth=spec.add_ground_truth,
        coder=BoxCoder(spec.box_weights),
        beta=spec.beta,
        box_loss_weight=spec.box_loss_weight,
        normalize_by=spec.normalize_by,
        selection=Selection(
            spec.score_threshold,
            spec.nms_iou,
            None,
            spec.detections_per_image,
            BoxCoder(spec.box_weights),
            spec.soft_nms,
            spec.soft_nms_sigma,
        ),
    )


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
    return Selection(
        keys.score_threshold,
        keys.nms_iou,
        keys.detections_per_class,
        None,
        soft_nms=keys.soft_nms,
        soft_nms_sigma=keys.soft_nms_sigma,
    )


def dropout_of(head: AnyDecisionConfig) -> float:
    """Return the fraction of activations dropped after fc6 and fc7 in fine-tuning."""
    return DecisionConfig().dropout if isinstance(head, CustomConfig) else head.dropout
