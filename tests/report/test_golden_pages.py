"""Whole pages as somebody looked at them: which parts there are, in which order, with which words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.measure import measure
from detkit.report import evaluation_page
from detkit.report.evaluation_page import EvaluatedRun, write_page
from detkit.report.recall_plot import write_recall_plot
from tests.reference.golden import golden_text
from tests.reference.random_sets import random_sets

TRAINING: tuple[dict[str, Any], ...] = tuple(
    {"step": 2 * epoch + step, "epoch": epoch, "split": "train", "lr": 0.1 / (epoch + 1),
     "objectness": 3.0 / (2 * epoch + step), "box": 2.0 - 0.1 * epoch, "images_per_second": 9.0 - step}
    for epoch in range(3) for step in (1, 2)
) + tuple(
    {"step": 2 * epoch + 2, "epoch": epoch, "split": "val", "AP": score, "AP50": 2 * score, "voc07": 0.3}
    for epoch, score in enumerate((0.1, 0.4, 0.2))
)  # fmt: skip


def read(file: Path) -> str:
    """Return a page, a tag on each line, without its style and without what pictures hold."""
    text = re.sub(r"<style>.*?</style>", "", file.read_text("utf-8"), flags=re.DOTALL)
    text = re.sub(r"data:image/(\w+);base64,[^\"]+", r"\1", text)
    return re.sub(r">\s*", ">\n", text)


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"detkit": "1", "machine": "a machine", "command": "detkit train mine.yaml"}
    monkeypatch.setattr(evaluation_page, "environment", lambda: here)


def shades(truth: AnnotationSet) -> Any:
    return lambda image: np.full((*truth.sizes[image, ::-1], 3), 20 * image, np.uint8)


@pytest.mark.parametrize(("seed", "metric"), [(1, "coco"), (2, "voc07"), (5, "voc10")])
def test_pages_of_evaluations_are_the_golden_ones(tmp_path: Path, seed: int, metric: Any) -> None:
    truth, found = random_sets(seed)
    measured, file = measure(truth, found, metric), tmp_path / "report.html"
    write_page(file, EvaluatedRun("mine", "a detector", truth, found, measured, shades(truth), "a: 1\n"))
    assert read(file) == golden_text(f"page_{metric}.html", read(file))


def test_page_of_a_training_is_the_golden_one(tmp_path: Path) -> None:
    truth, found = random_sets(1)
    measured, file, metrics = measure(truth, found, "coco"), tmp_path / "report.html", tmp_path / "m.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in TRAINING), encoding="utf-8")
    run = EvaluatedRun("mine", "", truth, found, measured, shades(truth), "a: 1\n", 0.25, ("A note.",))
    write_page(file, run, metrics, random_sets(3)[0])
    assert read(file) == golden_text("page_training.html", read(file))


def test_page_of_a_classifier_is_the_golden_one(tmp_path: Path) -> None:
    truth, _ = random_sets(1)
    labels = np.arange(12, dtype=np.int32) % 3
    whole = replace(
        truth,
        classes=("cat", "dog", "<bird>"),
        category_ids=np.arange(3),
        image_files=np.array([f"{image}.jpg" for image in range(12)]),
        image_ids=np.arange(12),
        sizes=np.full((12, 2), 50, np.int32),
        offsets=np.arange(13),
        labels=labels,
        boxes=np.tile([0.0, 0.0, 50.0, 50.0], (12, 1)),
        difficult=np.zeros(12, bool),
        crowd=np.zeros(12, bool),
        areas=np.full(12, 2500.0),
        ids=np.arange(12),
        sources=np.array(["x"] * 12),
    )
    guesses = np.where(np.arange(12) % 5 == 0, (labels + 1) % 3, labels).astype(np.int32)[:-1]
    scores = np.linspace(0.3, 0.9, 11)
    found = DetectionSet(np.arange(11), guesses, scores, whole.boxes[:11], "coco")
    file = tmp_path / "report.html"
    measured = measure(whole, found, "top1")
    write_page(file, EvaluatedRun("mine", "a classifier", whole, found, measured, shades(whole), ""))
    assert read(file) == golden_text("page_classifier.html", read(file))


def test_plots_of_recall_are_the_golden_ones(tmp_path: Path) -> None:
    truth, found = random_sets(2)
    write_recall_plot(tmp_path / "recall.svg", truth, found, 100)
    assert read(tmp_path / "recall.svg") == golden_text("recall.svg", read(tmp_path / "recall.svg"))
