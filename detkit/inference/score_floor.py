"""Lowest score at which a detection is reported, for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import Operating, Thresholds

Aim = Literal["f1", "precision", "recall"]
"""What a class's own threshold is chosen for: the best F1, a fixed precision, or a fixed recall."""

AIMS: Mapping[Aim, str] = {"f1": "best F1", "precision": "precision 0.9", "recall": "recall 0.9"}
"""Each aim in words."""

Advice = Mapping[Aim, tuple[float | None, ...]]
"""For each aim the K thresholds found on the validation images; None where none reaches the aim."""

FIXED_SCORE = 0.5
"""Lowest score reported of a class whose own threshold nobody has measured."""


def advice_of(thresholds: Thresholds) -> Advice:
    """Return what the threshold advisor found as plain values that a model file can hold."""
    aims: dict[Aim, Operating] = {
        "f1": thresholds.max_f1,
        "precision": thresholds.at_precision,
        "recall": thresholds.at_recall,
    }
    return {
        aim: tuple(None if np.isnan(t) else t for t in operating.threshold.tolist())
        for aim, operating in aims.items()
    }


def score_floors(
    wanted: float | Aim | None, advice: Advice | None, num_classes: int, unknown: float = FIXED_SCORE
) -> NDArray[np.float32]:
    """Return the (K,) lowest scores that are reported.

    A class that cannot reach the aim takes its threshold of best F1, and one without that, because no
    validation image shows an object of it that was found, takes `unknown`.

    Args:
        wanted: one score for all classes, or an aim; None takes the best F1 where it is known.
        advice: what the model file holds; None for a model that was never evaluated.
        num_classes: K.
        unknown: lowest score of a class whose own threshold nobody has measured.

    Raises:
        UserError: `wanted` is neither an aim nor a score from 0 to 1, or is an aim and there is no advice.

    Example:
        >>> advice = {"f1": (0.75, 0.25, None), "precision": (0.875, None, None), "recall": (None,) * 3}
        >>> score_floors(None, advice, 3), score_floors("precision", advice, 3)
        (array([0.75, 0.25, 0.5 ], dtype=float32), array([0.875, 0.25 , 0.5  ], dtype=float32))
        >>> score_floors(0.25, advice, 3), score_floors(None, None, 3)
        (array([0.25, 0.25, 0.25], dtype=float32), array([0.5, 0.5, 0.5], dtype=float32))
    """
    if isinstance(wanted, int | float) and 0 <= wanted <= 1:
        return np.full(num_classes, wanted, np.float32)
    if wanted is not None and wanted not in get_args(Aim):
        raise UserError(
            f"threshold: a score from 0 to 1, or one of {', '.join(get_args(Aim))}; got {wanted!r}"
        )
    if advice is None:
        if wanted is None:
            return np.full(num_classes, unknown, np.float32)
        raise UserError(
            f"threshold: {wanted!r} needs thresholds in the model file, which a training writes there once "
            "it has evaluated the model on validation images (data.val); this file has none, so give a score"
        )
    aim = cast(Aim, wanted or "f1")
    choices = zip(advice[aim], advice["f1"], [unknown] * num_classes, strict=True)
    return np.array(
        [next(score for score in of_class if score is not None) for of_class in choices], np.float32
    )
