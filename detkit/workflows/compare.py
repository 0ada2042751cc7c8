"""`detkit compare`: whether one run is better than another, or only luckier with its images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError
from detkit.evaluation.analysis.compare import Comparison, Difference, Rule, compare_detections
from detkit.evaluation.measure import RULES, deciding, shown
from detkit.runs.results import FinishedRun, read_run


@dataclass(frozen=True)
class RunComparison:
    """The result of `compare`.

    Attributes:
        first: folder of the run that is compared with.
        second: folder of the run whose gain is measured.
        classes: K names.
        num_images: images that both were evaluated on.
        result: the differences of AP, second minus first.
    """

    first: Path
    second: Path
    classes: tuple[str, ...]
    num_images: int
    result: Comparison

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes; NaN where a class has no objects."""
        per_class = zip(self.classes, self.result.per_class, strict=True)
        return {
            "metric": self.result.rule,
            "level": self.result.level,
            **_numbers(self.result.total),
            "per_class": {name: _numbers(difference) for name, difference in per_class},
        }

    def table(self) -> list[tuple[str, list[str]]]:
        """Return rows of name and cells to print, the heading first and all classes together last."""
        heading = ["first", "second", "difference", f"{self.result.level:.0%} interval", ""]
        names = (*self.classes, "mean")
        differences = (*self.result.per_class, self.result.total)
        return [
            ("class", heading),
            *((name, _cells(difference)) for name, difference in zip(names, differences, strict=True)),
        ]

    def conclusions(self) -> list[str]:
        """Return sentences that say what to make of the numbers."""
        verdicts: dict[str, list[str]] = {}
        for name, difference in zip(self.classes, self.result.per_class, strict=True):
            verdicts.setdefault(_verdict(difference), []).append(name)
        by_class = [f"{verdict}: {', '.join(names)}" for verdict, names in verdicts.items()]
        total = _verdict(self.result.total)
        meaning = {
            INSIDE: "the difference is inside the noise: other images could have turned the order round",
            NOTHING: "there is nothing to compare: no object is labelled",
        }
        sentence = meaning.get(total, f"{self.second} is {total} than {self.first}, beyond the noise")
        return [
            f"AP by {RULES[deciding(self.result.rule)]}, on {self.num_images} images, resampled",
            f"first: {self.first}   second: {self.second}",
            *by_class,
            f"all together, {sentence}",
        ]


INSIDE, NOTHING = "inside the noise", "n/a"


def compare(first: str | Path, second: str | Path, *, allow_custom: bool = False) -> RunComparison:
    """Compare two runs by the AP of the first one's metric, class by class, with intervals.

    Args:
        first: folder of a training or an evaluation.
        second: another, evaluated on the same images.
        allow_custom: let their configs run code that they name (`type: custom`); what runs is said.

    Raises:
        UserError: a folder is not that of a finished run, or the two were evaluated on other images.
    """
    first, second = Path(first), Path(second)
    runs = read_run(first, allow_custom=allow_custom), read_run(second, allow_custom=allow_custom)
    _require_same_truth(*runs)
    truth = runs[0].source.annotations
    metric = runs[0].config.evaluate.metric
    # A classifier's classes have the image as their box, so AP says how well it ranks the images of a class.
    # Of ILSVRC's rule, miss rates and localized images no intervals are known; AP stands for them.
    rule: Rule = metric if metric in ("voc07", "voc10", "coco") else "voc10"
    result = compare_detections(truth, runs[0].found, runs[1].found, rule=rule)
    return RunComparison(first, second, truth.classes, truth.num_images, result)


def _require_same_truth(first: FinishedRun, second: FinishedRun) -> None:
    one, other = first.source.annotations, second.source.annotations
    difference = _difference_of_truth(one, other)
    if difference is not None:
        raise UserError(
            f"{first.folder} and {second.folder} cannot be compared, because they were not evaluated on the "
            f"same labelled images: {difference}. Evaluate both with one config: "
            "detkit eval CONFIG --weights FILE"
        )


def _difference_of_truth(one: AnnotationSet, other: AnnotationSet) -> str | None:
    if one.classes != other.classes:
        return f"the first looked for {', '.join(one.classes)}, the second for {', '.join(other.classes)}"
    if not np.array_equal(one.image_files, other.image_files):
        alone = sorted(set(one.image_files.tolist()) ^ set(other.image_files.tolist()))
        if not alone:
            return "they come in another order"
        return f"{len(alone)} are in one of them only, such as {alone[0]}"
    columns = ("offsets", "boxes", "labels", "difficult", "crowd", "category_ids", "image_ids")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
    return None if same and one.box_format == other.box_format else "their labels differ"


def _numbers(difference: Difference) -> dict[str, float]:
    return {name: getattr(difference, name) for name in ("first", "second", "delta", "low", "high")}


def _cells(difference: Difference) -> list[str]:
    signed = [
        NOTHING if math.isnan(x) else f"{x:+.4f}" for x in (difference.delta, difference.low, difference.high)
    ]
    interval = f"{signed[1]} to {signed[2]}"
    return [shown(difference.first), shown(difference.second), signed[0], interval, _verdict(difference)]


def _verdict(difference: Difference) -> str:
    if math.isnan(difference.delta):
        return NOTHING
    if difference.within_noise:
        return INSIDE
    return "better" if difference.delta > 0 else "worse"
