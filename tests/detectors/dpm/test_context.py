"""Context: what describes a detection, and the cubic that scores it, against scikit-learn's own machine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.svm import SVC

from detkit.detectors.dpm.context import context_of, fit_context, found_objects, order_kept, rescored
from detkit.runs.predictor import load_detector
from detkit.structures import ImageBatch
from tests.detectors.dpm.test_recipe import data, trained  # noqa: F401  (a fixture)


def squeezed(score: float) -> float:
    return 1 / (1 + math.exp(-1.5 * score))


def test_a_detection_is_described_by_its_score_its_box_and_the_best_of_each_class() -> None:
    scores = [np.array([0.5, -0.9]), np.zeros(0), np.array([-1.05])]
    boxes = [np.array([[10.0, 20, 30, 60], [0, 0, 200, 100]]), np.zeros((0, 4)), np.array([[1.0, 2, 3, 4]])]
    first, second, third = context_of(scores, boxes, (100, 200))
    best = [squeezed(0.5), squeezed(-1.1), squeezed(-1.05)]
    np.testing.assert_allclose(first[0], [squeezed(0.5), 0.05, 0.2, 0.15, 0.6, *best])
    np.testing.assert_allclose(first[1], [squeezed(-0.9), 0, 0, 1, 1, *best])
    assert second.shape == (0, 8)
    np.testing.assert_allclose(third[0], [squeezed(-1.05), 1 / 200, 2 / 100, 3 / 200, 4 / 100, *best])
    # A class below the least counts as if nothing of it had been found.
    [low, _] = context_of([np.array([-3.0]), np.zeros(0)], [boxes[2], np.zeros((0, 4))], (100, 200))
    assert low[0, 0] == pytest.approx(squeezed(-3))
    assert low[0, 5:].tolist() == pytest.approx([squeezed(-1.1)] * 2)


def examples(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    inputs, scores = chance.random((count, 7)), chance.normal(size=count)
    found = np.where(inputs[:, 0] * inputs[:, 5] + 0.1 * chance.normal(size=count) > 0.3, 1, -1)
    return inputs, scores, found.astype(np.int8)


def test_the_cubic_is_the_machines_decision() -> None:
    inputs, scores, found = examples(120)
    found[::10] = 0
    machine = SVC(C=1, kernel="poly", degree=3, gamma=1, coef0=1, class_weight={1: 2}, tol=1e-3)
    machine.fit(inputs[found != 0], found[found != 0])
    cubic = fit_context(inputs, scores, found)
    assert cubic is not None
    assert cubic.shape == (8, 8, 8)
    np.testing.assert_allclose(rescored(inputs, cubic), machine.decision_function(inputs), atol=1e-8)
    kernel = (1 + inputs[:3] @ machine.support_vectors_.T) ** 3
    np.testing.assert_allclose(
        rescored(inputs[:3], cubic), kernel @ machine.dual_coef_[0] + machine.intercept_[0], atol=1e-8
    )


def test_the_best_detections_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.detectors.dpm.context._MOST", 60)
    inputs, scores, found = examples(120)
    best = scores >= np.sort(scores)[60]
    few, again = fit_context(inputs, scores, found), fit_context(inputs[best], scores[best], found[best])
    assert few is not None
    assert again is not None
    np.testing.assert_allclose(few, again)


def test_one_kind_alone_teaches_nothing_and_the_order_stays() -> None:
    inputs, scores, _ = examples(10)
    assert fit_context(inputs, scores, np.full(10, -1, np.int8)) is None
    assert fit_context(inputs[:0], scores[:0], np.zeros(0, np.int8)) is None
    kept = rescored(inputs, order_kept(7))
    assert kept.tolist() == inputs[:, 0].tolist()


def test_the_best_detection_of_an_object_is_one_and_the_others_are_not() -> None:
    ious = np.array([[0.6, 0.1], [0.9, 0.5], [0.2, 0.49], [0.3, 0.7], [0.3, 0.8], [0.5, 0.2]])
    scores = np.array([0.1, 0.5, 2.0, 0.3, 0.2, -1.0])
    assert found_objects(scores, ious, np.array([False, False])).tolist() == [-1, 1, -1, 1, -1, -1]
    assert found_objects(scores, ious, np.array([False, True])).tolist() == [-1, 1, -1, 1, 1, -1]
    assert found_objects(scores[:1], np.zeros((1, 0)), np.zeros(0, bool)).tolist() == [-1]


@pytest.mark.slow
def test_a_model_learns_its_context_and_predicts_with_it(tmp_path: Path, data: str) -> None:  # noqa: F811
    out = tmp_path / "run"
    state = trained(data, out, "detector.context=true")
    assert state["context"].shape == (3, 9, 9, 9)
    assert (state["context"].abs().amax((1, 2, 3)) > 0).all()
    model, image = load_detector(out).model, Path(json.loads(data)["images"]) / "0.png"
    pixels = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1)[None]
    [found] = model.detect(ImageBatch(pixels, ((96, 112),), ((96, 112),)))
    model.context = None
    [before] = model.detect(ImageBatch(pixels, ((96, 112),), ((96, 112),)))
    assert len(found.boxes) == len(before.boxes) > 0
    assert found.margins is not None
    assert found.margins.tolist() == sorted(found.margins.tolist(), reverse=True)
    assert sorted(found.boxes.tolist()) == sorted(before.boxes.tolist())
    assert found.margins.tolist() != before.margins.tolist()
    plain = trained(data, out, "detector.context=false", resume=True)  # the stages before are there
    assert "context" not in plain
    for name, value in plain.items():
        assert np.array_equal(value.numpy(), state[name].numpy()), name
