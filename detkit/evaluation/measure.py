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
    def value(self) -> float:
        """The one number that decides; NaN where no class has objects."""
        if self.accuracy is not None:
            return self.accuracy.top1
        if self.voc is not None:
            return self.voc.map07 if self.metric == "voc07" else self.voc.map10
        assert self.coco is not None
        return self.coco.stats["AP"]

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(K,) the deciding number of each class; NaN without objects."""
        if self.accuracy is not None:
            return self.accuracy.per_class
        if self.voc is not None:
            return self.voc.ap07 if self.metric == "voc07" else self.voc.ap10
        assert self.coco is not None
        return self.coco.per_class_ap

    @property
    def records(self) -> MatchRecords:
        """Match records of a detector."""
        result = self.voc or self.coco
        assert result is not None
        assert result.records is not None
        return result.records

    def numbers(self) -> dict[str, float]:
        """Return the named totals for a log; NaN where there is nothing to measure."""
        if self.accuracy is not None:
            return {"top1": self.accuracy.top1, "top5": self.accuracy.top5}
        if self.voc is not None:
            return {"map_voc07": self.voc.map07, "map_voc10": self.voc.map10}
        assert self.coco is not None
        return dict(self.coco.stats)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `eval` and `score` write; null where there is nothing to measure."""
        if self.accuracy is not None:
            return self._accuracy_to_json(self.accuracy)
        if self.coco is not None:
            ap, ap50 = self.coco.per_class_ap, self.coco.per_class_ap50
            return {
                "metric": self.metric,
                "stats": {name: known(value) for name, value in self.coco.stats.items()},
                "per_class": {
                    name: {"AP": known(ap[k]), "AP50": known(ap50[k])} for k, name in enumerate(self.classes)
                },
                "seconds": self.seconds,
            }
        assert self.voc is not None
        other = "voc10" if self.metric == "voc07" else "voc07"
        other_map = self.voc.map10 if other == "voc10" else self.voc.map07
        return {
            "metric": self.metric,
            "map": known(self.value),
            "ap": {name: known(value) for name, value in zip(self.classes, self.per_class, strict=True)},
            f"map_{other}": known(other_map),
            "seconds": self.seconds,
        }

    def _accuracy_to_json(self, accuracy: Accuracy) -> dict[str, Any]:
        pairs = zip(self.classes, accuracy.per_class, accuracy.per_class_top5, strict=True)
        return {
            "metric": self.metric,
            "top1": known(accuracy.top1),
            "top5": known(accuracy.top5),
            "per_class": {name: {"top1": known(one), "top5": known(five)} for name, one, five in pairs},
            "seconds": self.seconds,
        }


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
    if measured.accuracy is not None:
        own = measured.accuracy
        shares = zip(measured.classes, own.per_class, own.per_class_top5, strict=True)
        rows = [("class", ["top-1", "top-5"]), *((name, [shown(a), shown(b)]) for name, a, b in shares)]
        return [*rows, ("all", [shown(own.top1), shown(own.top5)])]
    if measured.coco is not None:
        rows = [("class", ["AP", "AP50"])]
        pairs = zip(measured.classes, measured.coco.per_class_ap, measured.coco.per_class_ap50, strict=True)
        rows += [(name, [shown(ap), shown(ap50)]) for name, ap, ap50 in pairs]
        stats = measured.coco.stats
        return [*rows, ("all", [shown(stats["AP"]), shown(stats["AP50"])])]
    assert measured.voc is not None
    rows = [("class", ["AP (VOC2007, 11 points)", "AP (VOC2010+, area)"])]
    triples = zip(measured.classes, measured.voc.ap07, measured.voc.ap10, strict=True)
    rows += [(name, [shown(ap07), shown(ap10)]) for name, ap07, ap10 in triples]
    return [*rows, ("mean", [shown(measured.voc.map07), shown(measured.voc.map10)])]


def shown(value: float) -> str:
    """Return a fraction with four decimals, `n/a` for NaN.

    Example:
        >>> shown(0.25), shown(float("nan"))
        ('0.2500', 'n/a')
    """
    return "n/a" if math.isnan(value) else f"{value:.4f}"
