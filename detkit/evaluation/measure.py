"""Evaluation by the metric a config names, as text for people and as JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.accuracy import Accuracy, measure_accuracy
from detkit.evaluation.metrics.coco import CocoResult, evaluate_coco
from detkit.evaluation.metrics.ilsvrc import IlsvrcResult, evaluate_ilsvrc
from detkit.evaluation.metrics.localization import Localization, evaluate_localization
from detkit.evaluation.metrics.matching import MatchRecords
from detkit.evaluation.metrics.miss_rate import DetCurve, MissRateResult, evaluate_miss_rate
from detkit.evaluation.metrics.oks import OksResult, evaluate_oks
from detkit.evaluation.metrics.pcp import PcpResult, evaluate_pcp
from detkit.evaluation.metrics.voc import VocResult, evaluate_voc
from detkit.evaluation.metrics.window_curve import miss_rates

Metric = Literal["voc07", "voc10", "coco", "ilsvrc", "miss_rate", "top1", "top1_loc", "oks"]

VOC = ("voc07", "voc10")

NAMES = {
    "voc07": "VOC07 AP",
    "voc10": "VOC10 AP",
    "AP": "COCO AP",
    "AP50": "COCO AP50",
    "AP75": "COCO AP75",
    "ilsvrc": "ILSVRC AP",
    "miss_rate": "miss rate",
    "top1": "top-1",
    "top5": "top-5",
    "top1_loc": "top-1 localized",
    "top5_loc": "top-5 localized",
    "oks": "OKS AP",
    "oks50": "OKS AP50",
    "oks75": "OKS AP75",
    "pcp": "PCP",
}
"""What each number is called wherever people read it: printed, in the report and on its curves."""
RULES = {
    "voc07": "VOC 2007: 11 points, IoU 0.5",
    "voc10": "VOC 2010: area, IoU 0.5",
    "AP": "COCO: IoU 0.50:0.95",
    "AP50": "COCO: IoU 0.50",
    "AP75": "COCO: IoU 0.75",
    "ilsvrc": "ILSVRC: area, IoU 0.5, less below 25 pixels",
    "miss_rate": "log-average over 0.01 to 1 false positives an image, IoU 0.5; less is better",
    "top1": "images whose class comes first",
    "top5": "images whose class is among the first five",
    "top1_loc": "images whose best guess has the class of an object and IoU 0.5 with it",
    "top5_loc": "images with such a guess among the first five; 1 - this is ImageNet's localization error",
    "oks": "COCO's key points: object keypoint similarity 0.50:0.95",
    "oks50": "COCO's key points: object keypoint similarity 0.50",
    "oks75": "COCO's key points: object keypoint similarity 0.75",
    "pcp": "parts whose ends are at most half of their length away",
}


@dataclass(frozen=True)
class Measured:
    """The result of one evaluation.

    Attributes:
        metric: the metric that decides, one of voc07, voc10, coco, ilsvrc, miss_rate, top1, top1_loc and
            oks.
        classes: K names.
        voc: VOC's numbers, both rules; None for a classifier.
        coco: COCO's numbers; None for a classifier.
        seconds: time the evaluation itself took.
        accuracy: a classifier's numbers; None for a detector's.
        ilsvrc: ILSVRC's numbers, where they decide.
        miss_rate: miss rates, where they decide.
        windows: of each class misses over false positives a window, of a detector that classifies windows,
            where the miss rate decides.
        localization: shares of localized images, where they decide.
        oks: COCO's numbers of key points, where they decide.
        pcp: correct parts, where key points decide and lines join them.
    """

    metric: Metric
    classes: tuple[str, ...]
    voc: VocResult | None
    coco: CocoResult | None
    seconds: float
    accuracy: Accuracy | None = None
    ilsvrc: IlsvrcResult | None = None
    miss_rate: MissRateResult | None = None
    windows: tuple[DetCurve, ...] | None = None
    localization: Localization | None = None
    oks: OksResult | None = None
    pcp: PcpResult | None = None

    @property
    def columns(self) -> dict[str, tuple[NDArray[np.float64], float]]:
        """The numbers people quote, by key of `NAMES`: (K,) of the classes, and the total.

        The deciding one comes first; NaN stands for what has no objects.
        """
        if (said := self.accuracy) is not None:
            found = {"top1": (said.per_class, said.top1), "top5": (said.per_class_top5, said.top5)}
        else:
            assert self.voc is not None
            assert self.coco is not None
            stats = self.coco.stats
            voc = {"voc07": (self.voc.ap07, self.voc.map07), "voc10": (self.voc.ap10, self.voc.map10)}
            coco = {
                "AP": (self.coco.per_class_ap, stats["AP"]),
                "AP50": (self.coco.per_class_ap50, stats["AP50"]),
                "AP75": (self.coco.per_class_ap75, stats["AP75"]),
            }
            found = coco | voc if self.metric == "coco" else voc | coco
            if self.ilsvrc is not None:
                found["ilsvrc"] = self.ilsvrc.ap, self.ilsvrc.mean
            if self.miss_rate is not None:
                found["miss_rate"] = self.miss_rate.miss_rate, self.miss_rate.mean
            if (own := self.localization) is not None:
                found |= {"top1_loc": (own.per_class, own.top1), "top5_loc": (own.per_class_top5, own.top5)}
            found |= self._of_keypoints()
        return {self.deciding: found[self.deciding], **found}

    def _of_keypoints(self) -> dict[str, tuple[NDArray[np.float64], float]]:
        if self.oks is None:
            return {}
        points, stats = self.oks, self.oks.stats
        found = {
            "oks": (points.per_class_ap, stats["AP"]),
            "oks50": (points.per_class_ap50, stats["AP50"]),
            "oks75": (points.per_class_ap75, stats["AP75"]),
        }
        return found | ({} if self.pcp is None else {"pcp": (self.pcp.per_class, self.pcp.total)})

    @property
    def deciding(self) -> str:
        """The key of `columns` that the metric names."""
        return deciding(self.metric)

    @property
    def value(self) -> float:
        """The one number that decides; NaN where no class has objects."""
        return self.columns[self.deciding][1]

    @property
    def known_value(self) -> tuple[str, float] | None:
        """The metric and `value`, for a model file; None where no class has objects."""
        return None if math.isnan(self.value) else (self.metric, float(self.value))

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(K,) the deciding number of each class; NaN without objects."""
        return self.columns[self.deciding][0]

    @property
    def quality(self) -> tuple[float, NDArray[np.float64]]:
        """`value` and `per_class` where more is better and 0 is nothing: of a miss rate what is found."""
        if self.miss_rate is not None:
            return 1 - self.value, 1 - self.per_class
        return self.value, self.per_class

    @property
    def records(self) -> MatchRecords:
        """Match records of a detector by the rules of the metric that decides."""
        result = self.miss_rate or self.ilsvrc or (self.voc if self.metric in VOC else self.coco)
        assert result is not None
        assert result.records is not None
        return result.records

    def numbers(self) -> dict[str, float]:
        """Return the named totals for a log, the deciding first; NaN where there is nothing to measure."""
        totals = {log_key(name): total for name, (_, total) in self.columns.items()}
        return totals if self.coco is None else totals | self.coco.stats

    def to_json(self) -> dict[str, Any]:
        """Return the object that `eval` and `score` write; null where there is nothing to measure."""
        columns = self.columns
        found: dict[str, Any] = {}
        if self.metric in VOC:
            ap = {name: known(value) for name, value in zip(self.classes, self.per_class, strict=True)}
            found = {"map": known(self.value), "ap": ap}
        stats = self.coco.stats if self.coco is not None else {}
        found |= {log_key(name): known(total) for name, (_, total) in columns.items() if name not in stats}
        if stats:
            found["stats"] = {name: known(value) for name, value in stats.items()}
        if self.oks is not None:
            found["keypoints"] = {name: known(value) for name, value in self.oks.stats.items()}
        found["per_class"] = {
            name: {column: known(values[k]) for column, (values, _) in columns.items()}
            for k, name in enumerate(self.classes)
        }
        if self.miss_rate is not None:
            found["windows"] = self.windows and {
                name: miss_rates(curve) for name, curve in zip(self.classes, self.windows, strict=True)
            }
        return {"metric": self.metric, **found, "seconds": self.seconds}


def deciding(metric: Metric) -> str:
    """Return the key of `NAMES` for the number by which a metric decides.

    Example:
        >>> deciding("coco"), deciding("voc07")
        ('AP', 'voc07')
    """
    return "AP" if metric == "coco" else metric


def log_key(name: str) -> str:
    """Return the key of metrics.jsonl, and of JSON, for a total of `Measured.columns`.

    Example:
        >>> log_key("voc07"), log_key("AP50")
        ('map_voc07', 'AP50')
    """
    return f"map_{name}" if name.startswith("voc") else name


def known(value: float) -> float | None:
    """Return the number, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(value)


def measure(
    truth: AnnotationSet, detections: DetectionSet, metric: Metric, oks_sigmas: Sequence[float] = ()
) -> Measured:
    """Score detections by the official rules of VOC and COCO, or those of a classifier.

    Args:
        truth: the labelled images, in the coordinates of their files.
        detections: the detections, in the same box format.
        metric: the one that decides: voc07, voc10, coco, ilsvrc or miss_rate; top1_loc for a localizer; top1
            for a classifier, whose images have one object each; oks for key points.
        oks_sigmas: of the key points; see `evaluate_oks`.

    Raises:
        UserError: the detections do not fit the annotations, or there are no key points to compare.
    """
    start = time.perf_counter()
    voc, coco, accuracy, ilsvrc, missed, located, oks, pcp = (None,) * 8
    if metric == "top1":
        num_classes = len(truth.classes)
        accuracy = measure_accuracy(
            truth.labels, detections.images, detections.labels, detections.scores, num_classes
        )
    else:
        voc = evaluate_voc(truth, detections, records=metric in VOC)
        coco = evaluate_coco(truth, detections, records=metric in ("coco", "top1_loc", "oks"))
        ilsvrc = evaluate_ilsvrc(truth, detections) if metric == "ilsvrc" else None
        missed = evaluate_miss_rate(truth, detections) if metric == "miss_rate" else None
        located = evaluate_localization(truth, detections) if metric == "top1_loc" else None
        if metric == "oks":
            oks = evaluate_oks(truth, detections, oks_sigmas)
            pcp = evaluate_pcp(truth, detections) if truth.layout and truth.layout.skeleton else None
    seconds = time.perf_counter() - start
    return Measured(
        metric, truth.classes, voc, coco, seconds, accuracy, ilsvrc, missed, None, located, oks, pcp
    )


def table(measured: Measured) -> list[tuple[str, list[str]]]:
    """Return rows of name and cells to print, the heading first; `n/a` where there are no objects."""
    columns = measured.columns
    return [
        ("class", [NAMES[name] for name in columns]),
        *(
            (name, [shown(values[k]) for values, _ in columns.values()])
            for k, name in enumerate(measured.classes)
        ),
        ("mean" if measured.accuracy is None else "all", [shown(total) for _, total in columns.values()]),
    ]


def shown(value: float) -> str:
    """Return a fraction with four decimals, `n/a` for NaN.

    Example:
        >>> shown(0.25), shown(float("nan"))
        ('0.2500', 'n/a')
    """
    return "n/a" if math.isnan(value) else f"{value:.4f}"
