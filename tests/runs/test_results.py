from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detkit.evaluation.measure import Metric, measure
from detkit.report.evaluation_page import EvaluatedRun
from detkit.runs.results import write_results
from tests.reference.small_scene import scene


@pytest.mark.parametrize(
    ("metric", "box_format", "official"),
    [("voc07", "voc", True), ("voc10", "voc", True), ("coco", "voc", False), ("voc07", "coco", False)],
)
def test_vocs_files_are_for_vocs_metrics_on_vocs_annotations(
    tmp_path: Path, metric: Metric, box_format: str, official: bool
) -> None:
    truth, found = scene([("a", (10, 10, 50, 50))], [("a", 0.9, (10, 10, 50, 50))])
    truth, found = (replace(one, box_format=box_format) for one in (truth, found))
    measured = measure(truth, found, metric)
    run = EvaluatedRun("t", "", truth, found, measured, lambda image: np.zeros((9, 9, 3), np.uint8), "")
    write_results(tmp_path, run)
    assert {file.name for file in tmp_path.iterdir()} == {
        "detections.json", "report.html", *(["comp4"] if official else []),
    }  # fmt: skip
