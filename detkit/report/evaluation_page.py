"""Content of report.html for an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import points_to_pixels, to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.thresholds import Operating, advise_thresholds
from detkit.evaluation.measure import NAMES, RULES, Measured, log_key
from detkit.evaluation.metrics.accuracy import Accuracy
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE
from detkit.evaluation.metrics.miss_rate import DetCurve
from detkit.evaluation.metrics.window_curve import miss_rates
from detkit.explain.lives import LostObjects
from detkit.report.analysis import (
    GOAL,
    error_bars,
    group_table,
    outcome_table,
    score_plots,
    threshold_table,
    zero_notes,
)
from detkit.report.classification import first_classes, surest_mistakes
from detkit.report.content import (
    ConfusionMatrix,
    Curve,
    DatasetSummary,
    Number,
    Picture,
    Plot,
    ReportData,
    Table,
)
from detkit.report.draw import draw_detections, fit
from detkit.report.html import write_report
from detkit.report.metrics_file import read_metrics, training_plots
from detkit.report.mistakes import lost_galleries, lost_table, worst_mistakes
from detkit.report.operating_point import OperatingPoint, operating_point, span
from detkit.report.sections import PICTURE_PX

Pixels = Callable[[int], NDArray[np.uint8]]
NUM_SAMPLES = 8
LEAST_FALSE_POSITIVES, MOST_FALSE_POSITIVES = 1e-3, 10.0  # an image
LEAST_FALSE_WINDOWS, MOST_FALSE_WINDOWS = 1e-6, 0.1  # a window
SMALLEST_SAMPLE_PX = 640


@dataclass(frozen=True)
class EvaluatedRun:
    """One evaluation with all that a report shows of it.

    Attributes:
        title: name of the run.
        subtitle: detector and dataset in a few words.
        truth: the labelled images.
        found: the detections.
        measured: the numbers.
        pixels: image index to (H, W, 3) uint8 RGB.
        config_yaml: the resolved config.
        seconds_per_image: time the detector took, None where it did not run.
        notes: sentences for the reader.
        made_with: name to value: the command, versions and machine.
        lost: what became of each object, where they were traced.
        filters: pictures of the model's filters.
    """

    title: str
    subtitle: str
    truth: AnnotationSet
    found: DetectionSet
    measured: Measured
    pixels: Pixels
    config_yaml: str
    seconds_per_image: float | None = None
    notes: tuple[str, ...] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)
    lost: LostObjects | None = None
    filters: tuple[Picture, ...] = ()


def write_page(
    path: Path, run: EvaluatedRun, metrics: Path | None = None, train_set: AnnotationSet | None = None
) -> None:
    """Write report.html for one evaluation.

    Args:
        path: the file to write.
        run: the evaluation.
        metrics: metrics.jsonl of the training, whose curves are shown.
        train_set: the annotations of the training set.
    """
    measured = run.measured
    key = log_key(measured.deciding)
    page = ReportData(
        title=run.title,
        subtitle=run.subtitle,
        summary=tuple(Number(NAMES[key], total, RULES[key]) for key, (_, total) in measured.columns.items()),
        training=training_plots(read_metrics(metrics), key) if metrics and metrics.is_file() else (),
        datasets=tuple(
            _dataset(name, part)
            for name, part in (("training set", train_set), ("validation set", run.truth))
            if part is not None
        ),
        notes=run.notes,
        filters=run.filters,
        config_yaml=run.config_yaml,
        environment={name: value for name, value in run.made_with.items() if name != "command"},
        command=run.made_with.get("command", ""),
    )
    if measured.accuracy is None:
        page = _with_detections(page, run)
    else:
        page = _with_images(page, run, measured.accuracy)
    write_report(path, _linked(page))


def _with_images(page: ReportData, run: EvaluatedRun, accuracy: Accuracy) -> ReportData:
    """Return the page with what there is to say about a classifier."""
    return replace(
        page,
        summary=page.summary + _counts(run, f"{len(run.truth.classes):,} classes"),
        per_class=_per_class(run, "images"),
        confusion=first_classes(accuracy, run.truth.classes),
        mistakes=surest_mistakes(accuracy, run.truth, run.pixels),
    )


def _with_detections(page: ReportData, run: EvaluatedRun) -> ReportData:
    """Return the page with what there is to say about a detector."""
    truth, records = run.truth, run.measured.records
    evidence = truth, run.found, records
    advice = advise_thresholds(*evidence, precision=GOAL, recall=GOAL)
    point = operating_point(*evidence, advice.max_f1)
    ignored = truth.num_objects - int(records.counts.sum())
    objects = f"{truth.num_objects:,} objects" + (f", {ignored:,} of them not counted" if ignored else "")
    lowest = float(run.found.scores.min()) if len(run.found.scores) else 0.0
    note = f"Detections from each class's score of best F1 on ({span(point.thresholds)}), at IoU 0.5. "
    return replace(
        page,
        summary=page.summary + point.numbers(lowest) + _counts(run, objects),
        per_class=_per_class(run, "objects"),
        pr_curves=_pr_curves(run.measured, advice.max_f1),
        det_curves=_det_curves(run.measured),
        window_curves=_window_curves(run.measured),
        samples=_samples(run, point),
        mistakes=worst_mistakes(truth, point, run.pixels),
        confusion=ConfusionMatrix(
            (*truth.classes, "background"), point.confusion, f"{note}Shades are shares of a row."
        ),
        errors=error_bars(*evidence, point),
        groups=group_table(*evidence),
        outcomes=outcome_table(truth, point),
        lost=None if run.lost is None else lost_table(run.lost),
        lost_objects=() if run.lost is None else lost_galleries(truth, point, run.lost, run.pixels),
        thresholds=threshold_table(truth.classes, advice),
        score_plots=score_plots(*evidence, advice.max_f1),
        notes=page.notes + zero_notes(truth, run.found, *run.measured.quality),
    )


def _counts(run: EvaluatedRun, note: str) -> tuple[Number, ...]:
    counts = [Number("images", run.truth.num_images, note)]
    if run.seconds_per_image is not None:
        counts.append(Number("seconds an image", f"{run.seconds_per_image:.3f}", "reading it included"))
    return tuple(counts)


def _per_class(run: EvaluatedRun, counted: str) -> Table:
    measured, truth = run.measured, run.truth
    counts = np.bincount(truth.labels, minlength=len(truth.classes))
    columns = [values.tolist() for values, _ in measured.columns.values()]
    rows = tuple(zip(truth.classes, counts.tolist(), *columns, strict=True))
    names = tuple(NAMES[key] for key in measured.columns)
    return Table(("class", counted, *names), rows, bars=names[:1], colours=True)


def _linked(page: ReportData) -> ReportData:
    """Return the page with the names of classes leading to their mistakes."""
    assert page.per_class is not None
    assert page.confusion is not None
    anchors = {mistakes.label: mistakes.anchor for mistakes in page.mistakes}
    links = tuple(anchors.get(k, "") for k in range(len(page.confusion.names)))
    return replace(
        page,
        per_class=replace(page.per_class, links=links[:-1]),  # the last is background
        confusion=replace(page.confusion, links=links),
    )


def _pr_curves(measured: Measured, best_f1: Operating) -> Plot:
    """Return the curves behind the AP at IoU 0.5, with the thresholds of best F1 marked."""
    others = {"coco": "AP50", "top1_loc": "AP50", "oks": "AP50", "ilsvrc": "voc10", "miss_rate": "voc10"}
    shown = others.get(measured.metric, measured.metric)
    aps, _ = measured.columns[shown]
    points = np.stack([best_f1.recall, best_f1.precision], axis=1)
    marks = [None if np.isnan(point).any() else (float(point[0]), float(point[1])) for point in points]
    curves = tuple(
        Curve(name, recall, precision, float(ap), mark)
        for name, (recall, precision), ap, mark in zip(
            measured.classes, _of_classes(measured), aps, marks, strict=True
        )
    )
    return Plot(f"Precision at each recall; the figures: {NAMES[shown]}", "recall", curves, (0.0, 1.0))


def _det_curves(measured: Measured) -> Plot | None:
    """Return the miss rate over false positives an image, where the miss rate decides."""
    if measured.miss_rate is None:
        return None
    averages, limits = measured.miss_rate.miss_rate.tolist(), (LEAST_FALSE_POSITIVES, MOST_FALSE_POSITIVES)
    return _trade_off(
        "Miss rate over false positives: detection error trade-off; the figures: log-average miss rate",
        "false positives an image, logarithm to the base of 10",
        [*zip(measured.classes, measured.miss_rate.curves, averages, strict=True)],
        limits,
    )


def _window_curves(measured: Measured) -> Plot | None:
    """Return the miss rate over false positives a window, where windows were counted."""
    if measured.windows is None:
        return None
    rates = [miss_rates(curve)["0.0001"] for curve in measured.windows]
    return _trade_off(
        "Miss rate of windows cut out around objects; the figures: at 0.0001 false positives a window",
        "false positives a window, logarithm to the base of 10",
        [*zip(measured.classes, measured.windows, rates, strict=True)],
        (LEAST_FALSE_WINDOWS, MOST_FALSE_WINDOWS),
    )


def _trade_off(
    title: str,
    across: str,
    curves: Sequence[tuple[str, DetCurve, float | None]],
    limits: tuple[float, float],
) -> Plot:
    least, most = limits
    lines = []
    for name, curve, figure in curves:
        shown = curve.false_positives <= most
        places = np.log10(np.maximum(curve.false_positives[shown], least))
        lines.append(Curve(name, places, curve.miss_rate[shown], np.nan if figure is None else figure))
    return Plot(title, across, tuple(lines), (0.0, 1.0))


def _of_classes(measured: Measured) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return recall and precision of each class by the metric's rule."""
    if measured.metric != "coco":
        assert measured.voc is not None
        return [(curve.recall, curve.precision) for curve in measured.voc.curves]
    assert measured.coco is not None
    precision = measured.coco.precision[0, :, :, 0, -1]
    columns = np.argsort(measured.coco.class_order)
    recalls = np.linspace(0, 1, len(precision))
    return [(recalls, np.where(one > -1, one, np.nan)) for one in precision.T[columns]]


def _samples(run: EvaluatedRun, point: OperatingPoint) -> tuple[Picture, ...]:
    """Return evenly spread images with labelled and found boxes."""
    truth, found, records = run.truth, point.found, point.records
    column = records.at(0.5)
    chosen = np.unique(np.linspace(0, truth.num_images - 1, NUM_SAMPLES).astype(int)).tolist()
    true_boxes, found_boxes = (to_corners(s.boxes, s.box_format) for s in (truth, found))
    points = None if found.keypoints is None else points_to_pixels(found.keypoints, found.box_format)
    pictures = []
    for image in chosen if truth.num_images else []:
        rows = slice(int(truth.offsets[image]), int(truth.offsets[image + 1]))
        mine = np.flatnonzero(found.images == image)
        pixels = run.pixels(image)
        longest = max(pixels.shape)
        shown = fit(pixels, min(max(longest, SMALLEST_SAMPLE_PX), PICTURE_PX))
        scale = max(shown.shape) / longest
        drawn = draw_detections(
            shown,
            found_boxes[mine] * scale,
            found.labels[mine],
            found.scores[mine],
            run.measured.classes,
            labelled=true_boxes[rows] * scale,
            keypoints=None if points is None else points[mine] * scale,
            skeleton=truth.layout.skeleton if truth.layout else (),
        )
        right, false = (
            int((records.state[mine, column] == s).sum()) for s in (TRUE_POSITIVE, FALSE_POSITIVE)
        )
        missed = int(records.counts[rows].sum()) - right
        name = Path(str(truth.image_files[image])).name
        pictures.append(Picture(drawn, f"{name}: {right} found, {missed} missed, {false} false"))
    return tuple(pictures)


def _dataset(name: str, truth: AnnotationSet) -> DatasetSummary:
    boxes = to_corners(truth.boxes, truth.box_format)
    counts = np.bincount(truth.labels, minlength=len(truth.classes))
    if not truth.sizes.any():  # a classifier's images, which nobody has measured
        boxes = boxes[:0]
    return DatasetSummary(
        name=f"{name}: {truth.root}",
        num_images=truth.num_images,
        num_empty=int((np.diff(truth.offsets) == 0).sum()),
        objects_per_class={c: int(n) for c, n in zip(truth.classes, counts, strict=True)},
        sides_px=np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)),
    )
