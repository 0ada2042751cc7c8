"""VOC average precision, step by step as the development kit's description puts it."""

from __future__ import annotations

import math

from detkit.annotations.dataset import AnnotationSet, DetectionSet


def iou_inclusive(a: list[float], b: list[float]) -> float:
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if right - left + 1 <= 0 or bottom - top + 1 <= 0:
        return 0.0
    shared = (right - left + 1) * (bottom - top + 1)
    one = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    two = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return shared / (one + two - shared)


def class_outcomes(truth: AnnotationSet, found: DetectionSet, label: int, iou: float) -> list[str]:
    """'true', 'false' or 'ignored' for each detection of a class, by falling score."""
    rows = [d for d in range(len(found.scores)) if found.labels[d] == label]
    rows.sort(key=lambda d: -found.scores[d])
    taken: set[int] = set()
    outcomes = []
    for d in rows:
        image = found.images[d]
        objects = [
            m for m in range(truth.offsets[image], truth.offsets[image + 1]) if truth.labels[m] == label
        ]
        overlaps = [iou_inclusive(found.boxes[d].tolist(), truth.boxes[m].tolist()) for m in objects]
        best = max(overlaps, default=-1.0)
        if not objects or best < iou:
            outcomes.append("false")
            continue
        m = objects[overlaps.index(best)]
        if truth.difficult[m] or truth.crowd[m]:
            outcomes.append("ignored")
        elif m in taken:
            outcomes.append("false")
        else:
            taken.add(m)
            outcomes.append("true")
    return outcomes


def curve(outcomes: list[str], num_objects: int) -> list[tuple[float, float]]:
    """(recall, precision) after each detection."""
    points, true, false = [], 0, 0
    for outcome in outcomes:
        true += outcome == "true"
        false += outcome == "false"
        points.append((true / num_objects, true / (true + false) if true + false else 0.0))
    return points


def ap07(points: list[tuple[float, float]]) -> float:
    total = 0.0
    for i in range(11):
        total += max((p for r, p in points if r >= i * 0.1), default=0.0)
    return total / 11


def ap10(points: list[tuple[float, float]]) -> float:
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        if recall > before:
            area += (recall - before) * max(p for _, p in points[i:])
            before = recall
    return area


def slow_voc(truth: AnnotationSet, found: DetectionSet, iou: float) -> list[tuple[float, float, list[str]]]:
    """(AP07, AP10, outcomes) of each class; NaN for a class without objects that count."""
    rows = []
    for label in range(len(truth.classes)):
        outcomes = class_outcomes(truth, found, label, iou)
        counts = ((truth.labels == label) & ~truth.difficult & ~truth.crowd).sum()
        points = curve(outcomes, int(counts)) if counts else []
        rows.append((ap07(points), ap10(points), outcomes) if counts else (math.nan, math.nan, outcomes))
    return rows
