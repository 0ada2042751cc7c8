from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.inference.score_floor import FIXED_SCORE, Advice, advice_of, score_floors
from tests.inference.bright import picture, predictor

ADVICE: Advice = {"f1": (0.8, 0.3, None), "precision": (0.9, None, None), "recall": (0.1, 0.2, None)}


@pytest.mark.parametrize(
    ("wanted", "floors"),
    [
        (None, [0.8, 0.3, FIXED_SCORE]),
        ("f1", [0.8, 0.3, FIXED_SCORE]),
        ("precision", [0.9, 0.3, FIXED_SCORE]),
        ("recall", [0.1, 0.2, FIXED_SCORE]),
        (0.25, [0.25] * 3),
        (0, [0.0] * 3),
        (1, [1.0] * 3),
    ],
)
def test_the_score_given_comes_before_the_advice_and_the_advice_before_the_fixed_score(
    wanted: object, floors: list[float]
) -> None:
    np.testing.assert_array_equal(score_floors(wanted, ADVICE, 3), np.float32(floors))  # type: ignore[arg-type]


def test_a_model_that_was_never_judged_takes_the_fixed_score() -> None:
    np.testing.assert_array_equal(score_floors(None, None, 2), [FIXED_SCORE] * 2)
    with pytest.raises(UserError, match="this file has none, so give a score"):
        score_floors("recall", None, 2)


@pytest.mark.parametrize("wanted", [-0.1, 1.5, float("nan"), "best"])
def test_what_is_neither_a_score_nor_an_aim_is_refused(wanted: object) -> None:
    with pytest.raises(UserError, match="a score from 0 to 1, or one of f1, precision, recall; got"):
        score_floors(wanted, ADVICE, 3)  # type: ignore[arg-type]


def test_advice_is_what_the_advisor_found() -> None:
    truth, found = two_images()
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    advice = advice_of(advise_thresholds(truth, found, records))
    assert advice == {"f1": (0.9, 0.7), "precision": (0.9, None), "recall": (0.9, None)}


def test_a_predictor_keeps_each_class_from_its_own_score_on() -> None:
    pixels = picture(40, 40, (0, 0, 9, 9, 0, 200), (10, 10, 30, 30, 1, 150), (20, 0, 39, 9, 2, 140))
    own = replace(predictor(), thresholds={"f1": (0.9, 0.55, None), "precision": (None,) * 3})
    assert own.predict(pixels).names == ("green", "blue")
    assert own.predict(pixels, threshold=0.7).names == ("red",)
    assert predictor().predict(pixels).names == ("red", "green", "blue")
    with pytest.raises(UserError, match="threshold"):
        own.stream([], threshold=2.0, tile_px=None, batch_size=1, threads=0)
