"""Plots of proposal recall over the number of boxes and over the IoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.proposal_recall import ProposalResult, evaluate_proposals
from detkit.report.content import Curve
from detkit.report.markup import Markup, element
from detkit.report.plots import line_plot
from detkit.storage.atomic import write_atomically

IOUS = tuple(np.linspace(0.5, 1.0, 51).tolist())
SHOWN_IOUS = (0.5, 0.7, 0.9)
LIMITS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)

Panel = tuple[str, str, Sequence[Curve], tuple[float, float] | None]
"""Title, what the horizontal axis is, the curves (at most 8), and its limits or None."""

_COLOURS = ("#2a78d6", "#eb6834", "#1baf7a", "#4a3aa7", "#e34948", "#c98500", "#d55181", "#008300")
_SIZE = (440, 270)
_TITLE_PX, _LINE_PX, _GAP_PX = 34, 18, 30
_IN_A_ROW = 3
_STYLE = Markup(
    "text{font:11px system-ui,sans-serif;fill:#5c5b57}.title{font-size:14px;font-weight:600;fill:#16161a}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}.grid{stroke:#e3e1db;fill:none}"
    ".base{stroke:#b9b7b0;fill:none}"
)


def write_recall_plot(file: Path, truth: AnnotationSet, detections: DetectionSet, most: int) -> None:
    """Draw two plots: recall over IoU for some numbers of boxes, and recall over the number of boxes.

    Args:
        file: the .svg file.
        truth: the objects.
        detections: the boxes.
        most: number of boxes of the image that has most.
    """
    limits = (*(limit for limit in LIMITS if limit < most), max(most, 1))
    measured = evaluate_proposals(truth, detections, limits=limits, ious=IOUS)
    panels: list[Panel] = [
        ("recall at IoU", "IoU", _over_iou(measured), (0.5, 1.0)),
        ("recall by boxes an image", "boxes an image, log10", _over_boxes(measured), None),
    ]
    write_atomically(file, curves_as_svg(panels))


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


def curves_as_svg(panels: Sequence[Panel]) -> str:
    """Return an SVG file with plots, three in a row, each over its legend; all go from 0 to 1 upwards."""
    legend_px = _LINE_PX * max(len(curves) for _, _, curves, _ in panels)
    row_px = _TITLE_PX + _SIZE[1] + legend_px + _GAP_PX
    width = min(len(panels), _IN_A_ROW) * (_SIZE[0] + _GAP_PX) + _GAP_PX
    height = -(-len(panels) // _IN_A_ROW) * row_px
    parts = [element("style", _STYLE), element("rect", width=width, height=height, fill="#fcfcfb")]
    for number, (title, x_label, curves, x_limits) in enumerate(panels):
        row, column = divmod(number, _IN_A_ROW)
        left, top = _GAP_PX + column * (_SIZE[0] + _GAP_PX), row * row_px + _TITLE_PX
        colours, y_limits = _COLOURS[: len(curves)], (0.0, 1.0)
        plot = line_plot(curves, colours, x_label=x_label, x_limits=x_limits, y_limits=y_limits, size=_SIZE)
        place = element("svg", plot, x=left, y=top, width=_SIZE[0], height=_SIZE[1])
        parts += [element("text", title, x=left, y=top - 12, class_="title"), place]
        for line, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
            y = top + _SIZE[1] + 16 + line * _LINE_PX
            parts.append(element("rect", x=left + 40, y=y - 8, width=12, height=8, fill=colour))
            parts.append(element("text", curve.name, x=left + 60, y=y))
    namespace, box = "http://www.w3.org/2000/svg", f"0 0 {width} {height}"
    return element("svg", *parts, xmlns=namespace, viewBox=box, width=width, height=height) + "\n"
