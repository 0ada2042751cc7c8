"""TIDE's kinds of error, detection by detection."""

from __future__ import annotations

from detkit.annotations.dataset import AnnotationSet, DetectionSet


def iou_xywh(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def error_kind(truth: AnnotationSet, found: DetectionSet, d: int, counts: list[bool]) -> str:
    """The kind of a detection that is known to be false, at IoU 0.5 and background IoU 0.1."""
    image = found.images[d]
    ious = [
        (iou_xywh(found.boxes[d].tolist(), truth.boxes[m].tolist()), truth.labels[m] == found.labels[d])
        for m in range(truth.offsets[image], truth.offsets[image + 1])
        if counts[m]
    ]
    same = max((iou for iou, is_same in ious if is_same), default=0.0)
    other = max((iou for iou, is_same in ious if not is_same), default=0.0)
    if 0.1 <= same < 0.5:
        return "localisation"
    if other >= 0.5:
        return "classification"
    if same >= 0.5:
        return "duplicate"
    return "background" if max(same, other) < 0.1 else "both"
