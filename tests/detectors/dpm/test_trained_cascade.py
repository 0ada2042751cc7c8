"""The star-cascade of a trained model: principal components, and limits that lose none of its objects."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.detectors.dpm.examples import ClassImages, PlacedObject
from detkit.detectors.dpm.trained_cascade import few_channels, stages_of_objects
from detkit.detectors.dpm.weights import StarWeights
from detkit.models.hog.dpm_features import MIRRORED, dpm_features
from detkit.runs.predictor import load_detector
from tests.detectors.dpm.small_models import picture
from tests.detectors.dpm.test_examples import images  # noqa: F401  (a fixture)
from tests.detectors.dpm.test_recipe import data, trained  # noqa: F401  (a fixture)
from tests.detectors.dpm.test_weights import random_star


def test_few_channels_are_the_principal_components_and_that_of_truncation() -> None:
    maps = [dpm_features(picture(60, 80, seed), 4)[0] for seed in range(3)]
    found = few_channels(iter(maps), 6)
    assert found.shape == (32, 6)
    assert found[-1].tolist() == [0, 0, 0, 0, 0, 1]
    assert (found[:-1, -1] == 0).all()
    cells = np.concatenate([own[..., :-1].reshape(-1, 31) for own in maps]).astype(float)
    _, _, directions = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
    for own, direction in zip(found[:-1, :-1].T, directions, strict=False):
        assert abs(own @ direction) == pytest.approx(1, abs=1e-4)


def slowly(
    star: StarWeights, objects: list[PlacedObject], projection: np.ndarray, order: list[int]
) -> list[Any]:
    """Return bias and steps of each object and its mirror image, in few channels and in all."""
    rows, weights = [], star.split(star.values)
    for one in objects:
        root, parts, costs, location, bias = star.split(one.features.astype(float))
        for turned in (False, True):
            found = []
            for basis in (projection, np.eye(32)):
                total = float(location @ weights[3] + bias * weights[4])
                steps = []
                for place in order:
                    values, plane = [(root, weights[0]), *zip(parts, weights[1], strict=True)][place]
                    if turned:
                        values, plane = values[:, ::-1][..., MIRRORED], plane[:, ::-1][..., MIRRORED]
                    cost = 0.0 if place == 0 else float(costs[place - 1] @ weights[2][place - 1])
                    steps.append((cost, float(((values @ basis) * (plane @ basis)).sum())))
                found.append((total, steps))
            rows.append(found)
    return rows


@pytest.mark.parametrize("mirrored", [True, False])
def test_limits_are_the_least_that_the_objects_score_on_the_way(images: ClassImages, mirrored: bool) -> None:  # noqa: F811
    star = random_star(0, (4, 4), 2, mirrored=mirrored)
    loose = replace(images, min_iou=0.3)
    objects = [own for each in images.with_objects() for own in loose.positives([star], each)]
    projection = few_channels([dpm_features(picture(60, 80), 4)[0]], 6)
    threshold = float(np.median([own.score for own in objects]))
    counted = [own for own in objects if own.score >= threshold]
    assert 0 < len(counted) < len(objects)
    stages = stages_of_objects(objects, 0, star, projection, threshold)
    order = stages.order[:3].tolist()
    assert stages.order[3:].tolist() == order
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]
    assert stages.limits[-1] == threshold
    rows = slowly(star, counted, projection, order)[:: 1 if mirrored else 2]
    first = [bias + np.cumsum(np.array(coarse).ravel()) for (bias, coarse), _ in rows]
    assert stages.limits[:6] == pytest.approx(np.min(first, axis=0))
    # Then the few channels of each filter make room for all of them, one by one.
    steps = [np.concatenate([np.ravel(coarse), np.ravel(full)]) for (_, coarse), (_, full) in rows]
    last = [
        [bias + own[at : at + 6].sum() for at in range(1, 6)]
        for own, ((bias, _), _) in zip(steps, rows, strict=True)
    ]
    assert stages.limits[6:-1] == pytest.approx(np.min(last, axis=0))
    nothing = stages_of_objects(objects, 1, star, projection, threshold)
    assert (nothing.limits > 1e20).all()


@pytest.mark.slow
def test_a_training_leaves_a_cascade_that_finds_the_best_objects(tmp_path: Path, data: str) -> None:  # noqa: F811
    state = trained(data, tmp_path / "run", "detector.cascade={channels: 6, threshold: -2}")
    assert state["projection"].abs().max() > 0
    assert sorted(state["mixtures.0.stars.0.order"][:3].tolist()) == [0, 1, 2]
    model, folder = load_detector(tmp_path / "run").model, Path(json.loads(data)["images"])
    pixels = np.asarray(Image.open(folder / "0.png"))
    found = model.placements(pixels)[0]
    model.projection = None
    every = model.placements(pixels)[0]
    assert 0 < len(found) < len(every)
    best = every.scores[0]
    assert found.scores[0] == pytest.approx(best)
