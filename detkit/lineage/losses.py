"""Where each object was lost: by the proposals, by the classes, by the boxes, or by the suppression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import from_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.config.schema import Config
from detkit.data.datasets.source import Source
from detkit.detectors.builder import build_detector
from detkit.evaluation.analysis.outcomes import (
    FOUND,
    IGNORED_OBJECT,
    MISNAMED,
    MISPLACED,
    OWN,
    fill_best,
    object_outcomes,
)
from detkit.evaluation.metrics.overlaps import columns_of
from detkit.inference.model_file import read_model_file
from detkit.report.operating_point import OperatingPoint
from detkit.runs.session import detect_with, session

REASONS = {
    "not_proposed": "never proposed",
    "rejected": "proposed, score too low",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "suppressed": "suppressed",
}
IOU = 0.5

Unsuppressed = Callable[[NDArray[np.int64]], DetectionSet]
"""Numbers of images -> what is found in them when of two overlapping detections none is dropped; its images
are places in the list of numbers."""


def where_lost(
    truth: AnnotationSet,
    point: OperatingPoint,
    proposals: DetectionSet | None,
    unsuppressed: Unsuppressed,
) -> dict[str, int]:
    """Return how many objects were lost for each of the `REASONS`, from the scores of best F1 on.

    Of an object that counts and is not found the first of these holds: suppressed (a detection of its class,
    with a score that counts, reaches it before overlapping ones are dropped), never proposed (no proposal
    reaches it), wrong class (a detection of another class reaches it), poor box (one of its class comes near
    it), otherwise its score is too low.

    Args:
        truth: N images and their objects.
        point: the detections that count.
        proposals: of all images, whatever their labels; None for a detector that looks everywhere.
        unsuppressed: asked for the images with lost objects.
    """
    outcome = object_outcomes(truth, point.found, point.records, IOU)
    lost = ~np.isin(outcome, (FOUND, IGNORED_OBJECT))
    if not lost.any():
        return dict.fromkeys(REASONS, 0)
    images = np.unique(truth.image_index()[lost])
    before = unsuppressed(images)
    counting = before.of(before.scores >= point.thresholds[before.labels])
    seen = _reached(truth, replace(counting, images=images[counting.images]))
    if proposals is None:
        proposed = np.ones(truth.num_objects, np.bool_)
    else:
        zeros = np.zeros(len(proposals.images), np.int32)
        one_class = replace(truth, labels=np.zeros_like(truth.labels))
        proposed = _reached(one_class, replace(proposals, labels=zeros))
    conditions = [seen, ~proposed, outcome == MISNAMED, outcome == MISPLACED]
    names = ["suppressed", "not_proposed", "wrong_class", "poor_box"]
    reasons = np.select(conditions, names, "rejected")[lost]
    return {name: int((reasons == name).sum()) for name in REASONS}


def without_suppression(
    config: Config, weights: Path, source: Source, images: NDArray[np.int64]
) -> DetectionSet:
    """Return what a detector finds in some images when of overlapping detections none is dropped.

    Args:
        config: how it is evaluated.
        weights: its model.safetensors.
        source: all images.
        images: the numbers of those to look at.
    """
    with session(config, trains=False) as run:
        file = read_model_file(weights)
        model = build_detector(config.detector.unsuppressed, len(file.classes), config.seed, pretrained=False)
        file.load_into(model)
        found, _ = detect_with(config, run, model.to(run.device).eval(), source.of(images))
    assert found is not None, "the chain runs in one process"
    return found


def boxes_of_images(truth: AnnotationSet, boxes: Sequence[NDArray[np.float32]]) -> DetectionSet:
    """Return corner boxes of each image as detections of the first class without scores."""
    counts = [len(own) for own in boxes]
    return DetectionSet(
        images=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        labels=np.zeros(sum(counts), dtype=np.int32),
        scores=np.zeros(sum(counts)),
        boxes=from_corners(np.concatenate([np.zeros((0, 4)), *boxes]), truth.box_format),
        box_format=truth.box_format,
    )


def _reached(truth: AnnotationSet, found: DetectionSet) -> NDArray[np.bool_]:
    """Return for each object whether a detection of its class reaches it."""
    best = np.zeros((truth.num_objects, 3))
    fill_best(columns_of(truth, found), np.zeros(len(found.labels), np.bool_), best)
    return np.asarray(best[:, OWN] >= IOU)
