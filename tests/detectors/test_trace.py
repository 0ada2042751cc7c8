"""`trace` of every detector: what it reports is what the detector detects, and what drops a box is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from detkit.capabilities import TracesCandidates
from detkit.detectors.dpm.model import DPM
from detkit.models.hog.feature_pyramid import FeaturePyramid
from detkit.models.image_input import in_file_pixels
from detkit.models.roi.selection import Selection
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Detections, Target, Trace
from tests.detectors.dpm.small_models import random_mixture
from tests.detectors.hog_svm.test_model import batch_of, scene
from tests.detectors.hog_svm.test_model import detector as template_detector
from tests.gpu.small_detectors import fit_planes, images, small

NAMES = (
    "cascade_rcnn_resnet18_synthetic",
    "dpm_cnn_resnet18_synthetic",
    "fast_rcnn_alexnet_voc07_multiscale",
    "faster_rcnn_resnet18_synthetic",
    "faster_rcnn_resnet50_c4_coco",
    "faster_rcnn_resnet50_fpn_coco",
    "overfeat_resnet18_synthetic",
    "rcnn_alexnet_voc07",
    "sppnet_zfnet_voc07",
)


def detector(name: str) -> nn.Module:
    """Return an untrained detector whose limits are low enough to be reached."""
    model = small(name).eval()
    fit_planes(model)
    for head in [model, *getattr(model, "roi_heads", ())]:
        if isinstance(getattr(head, "selection", None), Selection):
            head.selection = replace(cast(Any, head).selection, per_image=8, score_threshold=0.2)
    if hasattr(model, "regressor"):
        for weights in cast(nn.Module, model.regressor).parameters():
            weights.data.zero_()  # at random, boxes have no area
    if hasattr(model, "rpn"):
        cast(Any, model).rpn.test_limits = cast(Any, model).rpn.test_limits._replace(post_nms=30)
    return model


def reported(trace: Trace) -> Detections:
    """Return the candidates that are reported, best first."""
    kept = trace.reported
    parts = None if trace.parts is None else trace.parts[kept]
    found = Detections(trace.boxes[kept], trace.scores[kept], trace.labels[kept], parts=parts)
    return found.at(found.scores.sort(descending=True, stable=True).indices)


def in_order(found: Detections) -> Tensor:
    """Return rows of box, score and class in an order that equal scores do not change."""
    rows = torch.cat([found.boxes, found.scores[:, None], found.labels[:, None].float()], dim=1)
    keys = [tuple(round(value, 3) for value in row) for row in rows.tolist()]
    return rows[sorted(range(len(keys)), key=lambda place: keys[place])]


def require_consistent(trace: Trace) -> None:
    """Check what holds of every trace: a suppressor is better, of the class, and went further."""
    rows = torch.nonzero(trace.by >= 0).flatten()
    by = trace.by[rows]
    assert (trace.labels[by] == trace.labels[rows]).all()
    assert (trace.dropped[by] > trace.dropped[rows]).all()
    for step in set(trace.dropped[rows].tolist()):
        own = rows[trace.dropped[rows] == step]
        scores = trace.objectness if trace.steps[step] == "proposal_nms" else trace.scores
        assert scores is not None
        assert (scores[trace.by[own]] >= scores[own]).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_reported_is_what_is_detected(name: str) -> None:
    model, batch = detector(name), images()
    assert isinstance(model, TracesCandidates)
    with torch.no_grad():
        found = cast(Any, model).detect(batch.images)
    traces = model.trace(batch.images, batch.targets)
    told = in_file_pixels([reported(own) for own in traces], batch.images)
    for own, other, trace in zip(told, found, traces, strict=True):
        assert len(own) == len(other) > 0
        assert torch.allclose(in_order(own), in_order(other), atol=1e-4)
        require_consistent(trace)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_near_an_object_are_among_the_candidates(name: str) -> None:
    model, batch = detector(name), images(1)
    trace = cast(TracesCandidates, model).trace(batch.images, batch.targets)[0]
    every = pairwise_iou(trace.regions, batch.targets[0].boxes).max(dim=0).values
    assert (every > 0.1).all()


@pytest.mark.parametrize("grouping", ["nms", "rectangles", "mean_shift"])
def test_templates_trace_what_they_detect(grouping: str) -> None:
    model = template_detector(bias=-2.0, grouping=grouping)
    model.selection = replace(model.selection, per_image=5, more_than=0)
    if grouping == "nms":
        model.selection = replace(model.selection, margin_threshold=5.2)
    batch, target = batch_of(scene()), Target.of(torch.tensor([[16.0, 24, 40, 64]]), torch.tensor([0]))
    trace = model.trace(batch, [target])[0]
    told = in_file_pixels([reported(trace)], batch)[0]
    assert 0 < len(told) <= 5
    assert torch.allclose(in_order(told), in_order(model.detect(batch)[0]), atol=1e-4)
    require_consistent(trace)
    if grouping == "nms":
        assert {trace.steps[step] for step in trace.dropped[~trace.reported].tolist()} == {
            "score",
            "nms",
        } | ({"per_image"} if len(told) == 5 else set())


def test_deformable_part_models_trace_what_they_detect() -> None:
    mixtures = [random_mixture(seed, [(3, 4), (4, 3)], 2) for seed in (1, 2)]
    for mixture in mixtures:
        mixture.threshold.fill_(4.0)
    model = DPM(mixtures, pyramid=FeaturePyramid(interval=2))
    batch, target = batch_of(scene()), Target.of(torch.tensor([[16.0, 24, 40, 64]]), torch.tensor([1]))
    trace, found = model.trace(batch, [target])[0], model.detect(batch)[0]
    told = in_file_pixels([reported(trace)], batch)[0]
    assert len(found) > 3
    assert torch.allclose(in_order(told), in_order(found), atol=1e-4)
    assert told.parts is not None
    assert found.parts is not None
    assert torch.allclose(told.parts[0], found.parts[0], atol=1e-3)
    assert {trace.steps[step] for step in trace.dropped[~trace.reported].tolist()} == {"score", "nms"}
    require_consistent(trace)
