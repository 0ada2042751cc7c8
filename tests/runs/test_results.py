from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.evaluation.measure import Metric, measure
from detkit.report.evaluation_page import EvaluatedRun
from detkit.runs.results import (
    read_run,
    relabelled,
    require_known_classes,
    require_same_classes,
    write_results,
)
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


def test_classes_must_be_the_same_in_the_same_order() -> None:
    truth, _ = scene([("a", (10, 10, 50, 50))], [])
    require_same_classes(truth.classes, truth.classes, Path("m"))
    with pytest.raises(UserError) as told:
        require_same_classes(truth.classes[::-1], truth.classes, Path("m"))
    assert str(told.value).splitlines() == [
        "m: the model's classes are not those of the config:",
        f"  model:  {', '.join(truth.classes[::-1])}",
        f"  config: {', '.join(truth.classes)}",
        "Write the model's classes, in its order, into data.classes (and those it does not know into "
        "data.ignore_classes), or fine-tune the model to yours: detkit train CONFIG --from WEIGHTS",
    ]


@pytest.mark.parametrize(("there", "missing"), [((), "config.yaml"), (("config.yaml",), "detections.json")])
def test_a_folder_that_is_no_finished_run_is_told(
    tmp_path: Path, there: tuple[str, ...], missing: str
) -> None:
    for name in there:
        (tmp_path / name).touch()
    with pytest.raises(UserError) as told:
        read_run(tmp_path)
    assert str(told.value) == (
        f"{tmp_path}: has no {missing}, so it is not the folder of a finished run; give one that detkit "
        "train (with data.val) or detkit eval wrote"
    )


def test_a_model_may_know_more_classes_than_the_images_have() -> None:
    _, found = scene([], [("a", 0.9, (10, 10, 50, 50)), ("b", 0.8, (0, 0, 9, 9))])
    require_known_classes(("c", "b", "a"), ("a", "b"), Path("m"))
    with pytest.raises(UserError, match="m: the model's classes are not those of the config"):
        require_known_classes(("c", "b"), ("a", "b"), Path("m"))
    three = replace(found, labels=np.array([2, 1], np.int32))  # of c, b, a
    same = relabelled(three, ("c", "b", "a"), ("a", "b"))
    assert (same.labels.tolist(), same.scores.tolist()) == ([0, 1], [0.9, 0.8])
    assert relabelled(three, ("c", "b", "a"), ("a",)).scores.tolist() == [0.9]
