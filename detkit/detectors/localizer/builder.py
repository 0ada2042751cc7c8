"""A localizer of a config -> the model."""

from __future__ import annotations

from detkit.detectors.localizer.config import KeypointsConfig, LocalizerConfig
from detkit.detectors.localizer.heads import RegressionHead, Trunk
from detkit.detectors.localizer.keypoints import KeypointCascade, Refiner
from detkit.detectors.localizer.model import Localizer
from detkit.detectors.shared_parts import OnWeights
from detkit.models.backbones.builder import build_backbone, load_pretrained
from detkit.models.backbones.families import family_of
from detkit.models.backbones.tails import build_tail

STRIDE = 32  # of the last convolution's map, where a network has no fc6 that says how large it is


def build_localizer(spec: LocalizerConfig, num_classes: int, on_weights: OnWeights | None) -> Localizer:
    """Return the localizer of a config; see `DetectorFamily`."""
    how = spec.regression
    trunk = build_trunk(spec, num_classes, on_weights)
    sets = 1 if how.class_agnostic else num_classes
    points = spec.keypoints
    return Localizer(
        trunk,
        build_head(spec, trunk, num_sets=sets, num_values=4),
        None if points is None else _cascade(spec, points, trunk, sets, on_weights),
        size_px=spec.size_px,
        class_agnostic=how.class_agnostic,
        beta=how.beta if how.loss == "smooth_l1" else None,
        loss_weights=(how.loss_weight, 0.0 if points is None else points.loss_weight),
        top=spec.top,
    )


def _cascade(
    spec: LocalizerConfig, points: KeypointsConfig, trunk: Trunk, sets: int, on_weights: OnWeights | None
) -> KeypointCascade:
    number = 2 * len(points.names)
    refiners = []
    for _ in range(points.stages - 1):
        own = build_trunk(spec, None, on_weights)
        refiners.append(Refiner(own, build_head(spec, own, num_sets=1, num_values=number)))
    first = build_head(spec, trunk, num_sets=sets, num_values=number)
    return KeypointCascade(first, refiners, size_px=spec.size_px, crop_scale=points.crop_scale)


def build_trunk(spec: LocalizerConfig, num_classes: int | None, on_weights: OnWeights | None) -> Trunk:
    """Return the network of a config with its pretrained weights; without classes as far as a head sees."""
    backbone = build_backbone(spec.backbone, pyramid=False, crops=True)
    tail = build_tail(spec.backbone, backbone, spec.dropout, num_classes or 1)
    if num_classes is None:
        tail.cut_behind("map" if spec.regression.attach == "conv" else "vector")
    if on_weights is not None and spec.backbone.weights != "none":
        rest = {f"{name}.": part for name, part in tail.named_children()}
        on_weights(load_pretrained(spec.backbone, {"": backbone, **rest}))
    return Trunk(backbone, tail)


def build_head(spec: LocalizerConfig, trunk: Trunk, *, num_sets: int, num_values: int) -> RegressionHead:
    """Return a head that regresses sets of numbers."""
    fc = family_of(spec.backbone).fc
    return RegressionHead(
        trunk.tail,
        attach=spec.regression.attach,
        cells=fc.cells if fc is not None else max(1, spec.size_px // STRIDE),
        channels=spec.regression.channels,
        dropout=spec.dropout,
        num_sets=num_sets,
        num_values=num_values,
    )
