"""Curves of recall over the number of boxes and over how well they must fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.proposals import ProposalResult, evaluate_proposals
from detkit.report.content import Curve
from detkit.report.curve_file import curves_as_svg
from detkit.storage.atomic import write_atomically

IOUS = tuple(np.linspace(0.5, 1.0, 51).tolist())
SHOWN_IOUS = (0.5, 0.7, 0.9)
LIMITS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def write_recall_plot(file: Path, truth: AnnotationSet, found: DetectionSet, most: int) -> None:
    """Draw two plots: recall over IoU for some numbers of boxes, and recall over the number of boxes.

    Args:
        file: the .svg file.
        truth: the objects.
        found: the boxes.
        most: number of boxes of the image that has most.
    """
    limits = (*(limit for limit in LIMITS if limit < most), max(most, 1))
    measured = evaluate_proposals(truth, found, limits=limits, ious=IOUS)
    write_atomically(
        file,
        curves_as_svg(
            [
                ("recall at IoU", "IoU", _over_iou(measured), (0.5, 1.0)),
                ("recall by boxes an image", "boxes an image, log10", _over_boxes(measured), None),
            ]
        ),
    )


def _over_iou(measured: ProposalResult) -> list[Curve]:
    shown = [i for i, limit in enumerate(measured.limits[:-1]) if limit in (10, 100, 1000)]
    return [
        Curve(f"{measured.limits[i]} boxes", np.array(measured.ious), measured.recall[i])
        for i in [*shown, len(measured.limits) - 1]
    ]


def _over_boxes(measured: ProposalResult) -> list[Curve]:
    x = np.log10(np.array(measured.limits, np.float64))
    curves = [
        Curve(f"IoU {iou:g}", x, measured.recall[:, int(np.argmin(np.abs(np.array(measured.ious) - iou)))])
        for iou in SHOWN_IOUS
    ]
    return [*curves, Curve("average recall", x, measured.average_recall), Curve("MABO", x, measured.mabo)]
