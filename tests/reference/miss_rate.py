"""Log-average miss rate, detection by detection and threshold by threshold; slow."""

from __future__ import annotations

import math

Box = tuple[float, float, float, float]


def shared(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def area(a: Box) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def miss_rate(
    objects: list[tuple[int, Box, bool]], found: list[tuple[int, Box, float]], num_images: int
) -> float:
    """Return the log-average miss rate of one class.

    Args:
        objects: image, box and whether it is to be ignored.
        found: image, box and score.
        num_images: with objects or without.
    """
    free = [not ignored for _, _, ignored in objects]
    points = []  # (score order) false positives and hits so far
    false = hits = 0
    for image, box, _ in sorted(found, key=lambda one: -one[2]):
        ious = {
            k: shared(box, other) / (area(box) + area(other) - shared(box, other))
            for k, (where, other, _) in enumerate(objects)
            if where == image and free[k]
        }
        best = max(ious, key=lambda k: ious[k], default=None)
        if best is not None and ious[best] >= 0.5:
            free[best] = False
            hits += 1
        elif any(
            where == image and ignored and shared(box, other) / area(box) >= 0.5
            for where, other, ignored in objects
        ):
            continue
        else:
            false += 1
        points.append((false / num_images, hits))
    number = sum(not ignored for _, _, ignored in objects)
    logs = []
    for reference in [10 ** (-2 + 0.25 * k) for k in range(9)]:
        reached = [hits for rate, hits in points if rate <= reference]
        logs.append(math.log(max(1e-10, 1 - (reached[-1] if reached else 0) / number)))
    return math.exp(sum(logs) / len(logs))
