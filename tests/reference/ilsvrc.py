"""ILSVRC's average precision, image by image, in the order in which its readme states the rule; slow."""

from __future__ import annotations

from fractions import Fraction

Box = tuple[float, float, float, float]


def iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return both / (sum(areas) - both)


def threshold(box: Box) -> float:
    m, n = box[2] - box[0] + 1, box[3] - box[1] + 1
    return min(0.5, m * n / ((m + 10) * (n + 10)))


def average_precision(objects: list[tuple[int, Box]], found: list[tuple[int, Box, float]]) -> float:
    """Return the area under the curve of one class, whose precision never falls from right to left.

    Args:
        objects: image and box, the last pixel included.
        found: image, box and score; all scores differ.
    """
    verdicts: list[tuple[float, bool]] = []
    for image in {image for image, *_ in found}:
        free = [box for own, box in objects if own == image]
        for score, box in sorted(((s, b) for own, b, s in found if own == image), reverse=True):
            fitting = [thing for thing in free if iou(box, thing) >= threshold(thing)]
            best = max(fitting, key=lambda thing: iou(box, thing), default=None)
            verdicts.append((score, best is not None))
            if best is not None:
                free.remove(best)
    hits = [hit for _, hit in sorted(verdicts, reverse=True)]
    precisions = [Fraction(sum(hits[:n]), n) for n in range(1, len(hits) + 1)]
    area = Fraction(0)
    for place, hit in enumerate(hits):
        if hit:
            area += max(precisions[place:]) / len(objects)
    return float(area)
