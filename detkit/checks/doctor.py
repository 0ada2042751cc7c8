"""All checks of a dataset, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.checks.boxes import box_faults, check_boxes, check_empty, check_repeats, odd_boxes
from detkit.checks.classes import check_classes
from detkit.checks.conventions import Explanation, explanations, suspected_shifts
from detkit.checks.decoding import DecodedImage, check_images, look_at
from detkit.checks.findings import Finding, ranked
from detkit.checks.sizes import check_sizes, image_sizes
from detkit.checks.split_overlap import check_films, check_near_duplicates, check_splits
from detkit.checks.survey import Arrays, Survey
from detkit.data.config import DataConfig


@dataclass(frozen=True)
class Checked:
    """Result of all checks of a dataset.

    Attributes:
        survey: what its files say.
        decoded: what was seen of each image file.
        objects: of the survey, as arrays.
        seen: (N, 2) height and width of each image as it is seen.
        findings: worst first.
        explained: what explains many wrong boxes at once.
    """

    survey: Survey
    decoded: Mapping[Path, DecodedImage]
    objects: Arrays
    seen: NDArray[np.int64]
    findings: list[Finding]
    explained: list[Explanation]


def check_survey(
    survey: Survey,
    *,
    wanted: DataConfig | None,
    everything: bool,
    num_threads: int,
    done: Callable[[int], None],
) -> Checked:
    """Decode the images of a survey and check it.

    Args:
        survey: what the files say.
        wanted: has the classes and the box policy of a config, where there is one.
        everything: whether all of a dataset was read.
        num_threads: images that are decoded at the same time.
        done: called after each image how many are done.
    """
    decoded = look_at(survey, num_threads, done)
    seen, drawn_on = image_sizes(survey, decoded)
    with np.errstate(invalid="ignore", over="ignore"):  # numbers that are none are what is looked for
        objects = survey.arrays(seen, drawn_on)
        faults = box_faults(objects)
        explained = list(explanations(survey, objects, faults))
        for explanation in explained:
            faults[list(explanation.finding.objects)] = ""
        findings = [
            *survey.faults,
            *check_images(survey, decoded),
            *check_sizes(survey, decoded, objects),
            *(explanation.finding for explanation in explained),
            *check_boxes(survey, objects, faults, wanted),
            *check_repeats(survey, objects),
            *check_empty(survey, objects),
            *check_classes(survey, objects, wanted),
            *check_splits(survey, everything=everything),
            *check_near_duplicates(survey, decoded),
            *check_films(survey, decoded),
        ]
        if not explained:
            findings += suspected_shifts(survey, objects, faults)
            findings += check_boxes(survey, objects, odd_boxes(objects, faults), wanted)
    return Checked(survey, decoded, objects, seen, ranked(findings), explained)
