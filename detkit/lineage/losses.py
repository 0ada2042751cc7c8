"""Where each object was lost: by the proposals, by the classes, by the boxes, or by the suppression."""

from __future__ import annotations

from detkit.explain.lives import LostObjects

REASONS = {
    "not_proposed": "never proposed",
    "rejected": "proposed, score too low",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "suppressed": "suppressed",
}


def where_lost(lost: LostObjects) -> dict[str, int]:
    """Return how many objects were lost for each of the `REASONS`.

    Suppressed are those of which a box would have been a detection, had a step of the detector not dropped it
    for better ones: by suppression, by a limit, or because the detection went to a neighbour. Detectors have
    such steps of their own (`detkit.explain.lives.OUTCOMES`), which do not compare.
    """
    counts = {outcome: count for outcome, count in lost.counts.items() if outcome != "found"}
    named = {reason: counts.pop(reason, 0) for reason in list(REASONS)[:-1]}
    return named | {"suppressed": sum(counts.values())}
