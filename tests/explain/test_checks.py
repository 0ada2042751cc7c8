from __future__ import annotations

import numpy as np
import pytest

from detkit.explain.checks import (
    STEPS,
    curves,
    points_at,
    random_curves,
    randomised,
    rank_correlation,
)
from detkit.explain.gradients import saliency
from detkit.explain.methods import Explainer
from detkit.explain.subject import Subject
from tests.explain.patch import COLUMNS, ROWS, Detects, patch_subject


def right_map() -> np.ndarray:
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[ROWS, COLUMNS] = 1
    return heat


def test_the_right_pixels_first_are_the_steepest_curves() -> None:
    of, steps = patch_subject(), []
    best = curves(of, right_map(), steps.append)
    worst = curves(of, -right_map(), lambda count: None)
    chance = random_curves(of, 0, lambda count: None)
    assert sum(steps) == 2 * (STEPS + 1)
    assert best.deletion_auc < chance.deletion_auc < worst.deletion_auc
    assert best.insertion_auc > chance.insertion_auc > worst.insertion_auc
    whole = float(of.scores(of.image.pixels)[0])
    assert best.deletion[0] == best.insertion[-1] == np.float32(whole)
    assert best.deletion[-1] == pytest.approx(0.5, abs=0.01)  # the mean colour is nothing to the network
    first = 256 / 64**2 * STEPS  # the patch is gone after so many steps
    assert best.deletion[int(first) + 1] == pytest.approx(0.5, abs=0.01)


def test_a_map_of_the_network_changes_with_its_weights_and_one_of_the_image_does_not() -> None:
    of = patch_subject()
    image = of.image.pixels[0, 0].float().numpy()

    def learned(subject: Subject) -> np.ndarray:
        return saliency(subject).numpy()

    assert abs(randomised(of, learned(of), learned, 0, 1)[0]) < 0.5
    assert randomised(of, image, lambda subject: image, 0, 1) == [1.0]


def test_ranks_are_compared_and_not_values() -> None:
    chance = np.random.default_rng(0)
    one, other = chance.random((5, 6)).astype(np.float32), chance.random((5, 6)).astype(np.float32)
    from scipy.stats import spearmanr

    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel())[0], abs=1e-5)


def test_a_map_points_at_its_maximum() -> None:
    heat = np.zeros((40, 60), dtype=np.float32)
    heat[10, 50] = 1
    assert points_at(heat, np.array([[0.0, 0, 5, 5], [48, 8, 53, 13]]))
    assert not points_at(heat, np.array([[8.0, 48, 13, 53]]))


def test_an_explanation_says_which_checks_failed() -> None:
    of = patch_subject()
    explainer = Explainer(of, np.array([[40.0, 0.0, 60.0, 20.0]]), masks=30, seed=0)
    (found,) = explainer(["saliency"], explainer.random_curves())
    assert found.failed == ("its maximum lies outside the object",)
    assert found.pointing is False
    assert found.curves is not None


def test_methods_that_cannot_be_say_why() -> None:
    steps: list[int] = []
    explainer = Explainer(patch_subject(Detects()), np.array([[4.0, 28, 28, 52]]), 40, 0, steps.append)
    floor = explainer.random_curves()
    found = {own.method: own for own in explainer(["saliency", "gradcam", "occlusion", "drise"], floor)}
    assert "says nothing of a given region" in found["saliency"].why_not
    assert found["saliency"].heat is None
    assert found["occlusion"].heat is not None
    assert found["drise"].pointing
    assert sum(steps) == explainer.num_steps(["occlusion", "drise"])
