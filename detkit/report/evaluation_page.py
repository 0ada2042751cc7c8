"""Content of report.html for an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.measure import RULES, Measured
from detkit.evaluation.metrics.matching import FALSE_POSITIVE
from detkit.report.analysis import (
    class_confusion,
    error_bars,
    group_table,
    outcome_table,
    threshold_table,
    zero_notes,
)
from detkit.report.classification import with_classification
from detkit.report.content import Curve, DatasetSummary, Number, Picture, ReportData, Table
from detkit.report.draw import draw_detections, fit
from detkit.report.html import write_report
from detkit.report.metrics_file import read_metrics, training_plots
from detkit.report.mistakes import worst_mistakes
from detkit.runtime.environment import environment

Pixels = Callable[[int], NDArray[np.uint8]]
NUM_SAMPLES = 8
SAMPLE_PX = 640
SHOWN_SCORE = 0.5


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
    made_with = environment()
    page = ReportData(
        title=run.title,
        subtitle=run.subtitle,
        training=training_plots(read_metrics(metrics)) if metrics and metrics.is_file() else (),
        datasets=tuple(
            _dataset(name, part)
            for name, part in (("training set", train_set), ("validation set", run.truth))
            if part is not None
        ),
        notes=run.notes,
        config_yaml=run.config_yaml,
        environment={name: value for name, value in made_with.items() if name != "command"},
        command=made_with["command"],
    )
    if run.measured.accuracy is None:
        write_report(path, _with_detections(page, run))
    else:
        counts = _counts(run, f"{len(run.measured.classes):,} classes")
        write_report(path, with_classification(page, run.measured.accuracy, counts, run.truth, run.pixels))


def _with_detections(page: ReportData, run: EvaluatedRun) -> ReportData:
    """Return the page with what there is to say about a detector."""
    evidence = run.truth, run.found, run.measured.records
    return replace(
        page,
        summary=_summary(run),
        per_class=_per_class(run),
        pr_curves=_curves(run.measured),
        samples=_samples(run),
        mistakes=worst_mistakes(*evidence, run.pixels),
        confusion=class_confusion(*evidence, SHOWN_SCORE),
        errors=error_bars(*evidence),
        groups=group_table(*evidence),
        outcomes=outcome_table(*evidence),
        thresholds=threshold_table(*evidence),
        notes=page.notes + zero_notes(run.truth, run.found, run.measured.value, run.measured.per_class),
    )


def _summary(run: EvaluatedRun) -> tuple[Number, ...]:
    measured, truth = run.measured, run.truth
    if measured.voc is not None:
        totals = [
            Number("mAP", measured.voc.map07, RULES["voc07"]),
            Number("mAP", measured.voc.map10, RULES["voc10"]),
        ]
        if measured.metric == "voc10":
            totals.reverse()
    else:
        assert measured.coco is not None
        stats = measured.coco.stats
        notes = {"AP": RULES["coco"], "AP50": "COCO, IoU 0.50", "AP75": "COCO, IoU 0.75"}
        totals = [Number(name, stats[name], note) for name, note in notes.items()]
    images, *speed = _counts(run, f"{truth.num_objects:,} objects")
    found = Number("detections", len(run.found.scores), f"{_false_share(run)} false at IoU 0.5")
    return (*totals, images, found, *speed)


def _counts(run: EvaluatedRun, note: str) -> tuple[Number, ...]:
    counts = [Number("images", run.truth.num_images, note)]
    if run.seconds_per_image is not None:
        counts.append(Number("seconds an image", f"{run.seconds_per_image:.3f}", "reading it included"))
    return tuple(counts)


def _false_share(run: EvaluatedRun) -> str:
    records = run.measured.records
    states = records.state[:, records.at(0.5)]
    return f"{np.mean(states == FALSE_POSITIVE):.0%}" if len(states) else "none"


def _per_class(run: EvaluatedRun) -> Table:
    measured = run.measured
    counts = np.bincount(run.truth.labels, minlength=len(measured.classes))
    if measured.voc is not None:
        values = {"AP 2007": measured.voc.ap07, "AP 2010+": measured.voc.ap10}
    else:
        assert measured.coco is not None
        values = {"AP": measured.coco.per_class_ap, "AP50": measured.coco.per_class_ap50}
    rows = tuple(
        (name, int(count), float(one), float(other))
        for name, count, one, other in zip(measured.classes, counts, *values.values(), strict=True)
    )
    return Table(("class", "objects", *values), rows, bars=tuple(values), colours=True)


def _curves(measured: Measured) -> tuple[Curve, ...]:
    if (voc := measured.voc) is not None:
        return tuple(
            Curve(name, curve.recall, curve.precision, value=float(ap))
            for name, curve, ap in zip(voc.classes, voc.curves, voc.ap10, strict=True)
        )
    coco = measured.coco
    assert coco is not None
    recalls = np.linspace(0, 1, coco.precision.shape[1])
    curves = []
    for label, column in sorted((label, column) for column, label in enumerate(coco.class_order)):
        precision = coco.precision[0, :, column, 0, -1]
        shown = np.where(precision > -1, precision, np.nan)
        value = float(coco.per_class_ap50[label])
        curves.append(Curve(measured.classes[label], recalls, shown, value))
    return tuple(curves)


def _samples(run: EvaluatedRun) -> tuple[Picture, ...]:
    """Return evenly spread images with labelled and found boxes."""
    truth, found = run.truth, run.found
    chosen = np.unique(np.linspace(0, truth.num_images - 1, NUM_SAMPLES).astype(int)).tolist()
    true_boxes, found_boxes = (to_corners(s.boxes, s.box_format) for s in (truth, found))
    pictures = []
    for image in chosen if truth.num_images else []:
        rows = slice(int(truth.offsets[image]), int(truth.offsets[image + 1]))
        mine = np.flatnonzero((found.images == image) & (found.scores >= SHOWN_SCORE))
        drawn = draw_detections(
            run.pixels(image),
            found_boxes[mine],
            found.labels[mine],
            found.scores[mine],
            run.measured.classes,
            labelled=true_boxes[rows],
        )
        name = Path(str(truth.image_files[image])).name
        caption = f"{name}: {rows.stop - rows.start} labelled (dashed), {len(mine)} found"
        pictures.append(Picture(fit(drawn, SAMPLE_PX), caption))
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
