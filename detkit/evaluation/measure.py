"""Evaluation by the metric a config names, as text for people and as JSON."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.accuracy import Accuracy, measure_accuracy
from detkit.evaluation.metrics.coco import CocoResult, evaluate_coco
from detkit.evaluation.metrics.matching import MatchRecords
from detkit.evaluation.metrics.voc import VocResult, evaluate_voc

Metric = Literal["voc07", "voc10", "coco", "top1"]

RULES = {
    "voc07": "VOC2007, 11 points, IoU 0.5",
    "voc10": "VOC2010 and later, area under the curve, IoU 0.5",
    "coco": "COCO, IoU 0.50:0.95",
    "top1": "images whose class comes first",
}
HEADINGS = {
    "top1": "top-1",
    "top5": "top-5",
    "voc07": "AP (VOC2007, 11 points)",
    "voc10": "AP (VOC2010+, area)",
}


@dataclass(frozen=True)
class Measured:
    """The result of one evaluation.

    Attributes:
        metric: the metric that decides, one of voc07, voc10, coco and top1.
        classes: K names.
        voc: VOC's numbers, both rules; None where others were asked for.
        coco: COCO's numbers; None where others were asked for.
        seconds: time the evaluation itself took.
        accuracy: a classifier's numbers; None for a detector's.
    """

    metric: Metric
    classes: tuple[str, ...]
    voc: VocResult | None
    coco: CocoResult | None
    seconds: float
    accuracy: Accuracy | None = None

    @property
    def columns(self) -> dict[str, tuple[NDArray[np.float64], float]]:
        """Two numbers by name, each as (K,) of the classes and in total; NaN without objects."""
        if self.accuracy is not None:
            own = self.accuracy
            return {"top1": (own.per_class, own.top1), "top5": (own.per_class_top5, own.top5)}
        if self.voc is not None:
            return {"voc07": (self.voc.ap07, self.voc.map07), "voc10": (self.voc.ap10, self.voc.map10)}
        assert self.coco is not None
        stats = self.coco.stats
        return {
            "AP": (self.coco.per_class_ap, stats["AP"]),
            "AP50": (self.coco.per_class_ap50, stats["AP50"]),
        }

    @property
    def value(self) -> float:
        """The one number that decides; NaN where no class has objects."""
        return self._deciding[1]

    @property
    def known_value(self) -> tuple[str, float] | None:
        """The metric and `value`, for a model file; None where no class has objects."""
        return None if math.isnan(self.value) else (self.metric, float(self.value))

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(K,) the deciding number of each class; NaN without objects."""
        return self._deciding[0]

    @property
    def _deciding(self) -> tuple[NDArray[np.float64], float]:
        return self.columns["AP" if self.metric == "coco" else self.metric]

    @property
    def records(self) -> MatchRecords:
        """Match records of a detector."""
        result = self.voc or self.coco
        assert result is not None
        assert result.records is not None
        return result.records

    def numbers(self) -> dict[str, float]:
        """Return the named totals for a log; NaN where there is nothing to measure."""
        if self.coco is not None:
            return self.coco.stats
        prefix = "map_" if self.voc is not None else ""
        return {prefix + name: total for name, (_, total) in self.columns.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the object that `eval` and `score` write; null where there is nothing to measure."""
        columns = self.columns
        if self.voc is not None:
            other = "voc10" if self.metric == "voc07" else "voc07"
            ap = {name: known(value) for name, value in zip(self.classes, self.per_class, strict=True)}
            found: dict[str, Any] = {
                "map": known(self.value),
                "ap": ap,
                f"map_{other}": known(columns[other][1]),
            }
        else:
            totals = {name: known(total) for name, total in self.numbers().items()}
            found = dict(totals) if self.coco is None else {"stats": totals}
            found["per_class"] = {
                name: {column: known(values[k]) for column, (values, _) in columns.items()}
                for k, name in enumerate(self.classes)
            }
        return {"metric": self.metric, **found, "seconds": self.seconds}


def known(value: float) -> float | None:
    """Return the number, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(value)


def measure(truth: AnnotationSet, detections: DetectionSet, metric: Metric) -> Measured:
    """Score detections by one metric's official rules.

    Args:
        truth: the labelled images, in the coordinates of their files.
        detections: the detections, in the same box format.
        metric: voc07, voc10 or coco; top1 for a classifier, whose images have one object each.
    """
    start = time.perf_counter()
    voc, coco, accuracy = None, None, None
    if metric == "top1":
        num_classes = len(truth.classes)
        accuracy = measure_accuracy(
            truth.labels, detections.images, detections.labels, detections.scores, num_classes
        )
    elif metric == "coco":
        coco = evaluate_coco(truth, detections, records=True)
    else:
        voc = evaluate_voc(truth, detections, records=True)
    return Measured(metric, truth.classes, voc, coco, time.perf_counter() - start, accuracy)


def table(measured: Measured) -> list[tuple[str, list[str]]]:
    """Return rows of name and cells to print, the heading first; `n/a` where there are no objects."""
    columns = measured.columns
    return [
        ("class", [HEADINGS.get(name, name) for name in columns]),
        *(
            (name, [shown(values[k]) for values, _ in columns.values()])
            for k, name in enumerate(measured.classes)
        ),
        ("all" if measured.voc is None else "mean", [shown(total) for _, total in columns.values()]),
    ]


def shown(value: float) -> str:
    """Return a fraction with four decimals, `n/a` for NaN.

    Example:
        >>> shown(0.25), shown(float("nan"))
        ('0.2500', 'n/a')
    """
    return "n/a" if math.isnan(value) else f"{value:.4f}"
