"""Trainability of a detector on its dataset here: findings of `detkit check` that need torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.checks.findings import Finding, found
from detkit.checks.fit import BUCKETS, FAIR_IOU, Fit
from detkit.runtime.memory import free_bytes, shared_bytes, shown_bytes
from detkit.training.memory_probe import SAFETY, MemoryProbe

_MISSED_SHARE = 0.1  # of the objects of a size that nothing fits, from which on it is reported
_FEW_SHARE = 0.02  # of the anchors or regions drawn that hold an object, below which it is reported
_BELOW_SHARE = 0.01  # of the objects that are smaller than a cell
PROBED = 2  # images of a step whose memory is measured


def memory_findings(
    probe: MemoryProbe, batch_size: int, accumulate: int
) -> tuple[list[Finding], dict[str, Any]]:
    """Return whether a step fits into memory, extrapolated from steps of one and two images.

    Args:
        probe: takes such steps.
        batch_size: images of a step.
        accumulate: in how many parts it is processed.
    """
    device = probe.session.device
    part = -(-batch_size // accumulate)
    line, free = probe.line(PROBED), free_bytes(device)
    needed = line(part)
    shared_free = shared_bytes() if probe.session.workers else None
    shared = probe.shared_bytes(batch_size)
    findings = []
    if free is not None and needed > SAFETY * free:
        message = (
            f"a step of {part} images takes about {shown_bytes(needed)} on {device}, {shown_bytes(free)} "
            "are free: raise train.accumulate, or lower train.batch_size or data.resize (see detkit plan)"
            if line.known
            else f"not even one image fits on {device}: lower data.resize"
        )
        findings.append(found("out_of_memory", None, None, message))
    if shared_free is not None and shared > shared_free:
        message = (
            f"the loader processes need {shown_bytes(shared)} of /dev/shm, {shown_bytes(shared_free)} are "
            "free: lower data.workers, or give the container more (docker run --shm-size)"
        )
        findings.append(found("shared_memory", None, None, message))
    needs = {"memory_bytes": int(needed) if line.known else None, "free_bytes": free}
    return findings, needs | {"shared_bytes": shared, "shared_free_bytes": shared_free}


def fit_findings(fit: Fit, truth: AnnotationSet) -> Iterator[Finding]:
    """Yield what keeps a detector from learning the objects.

    Args:
        fit: what was measured.
        truth: the annotations of the images.
    """
    best, sides = np.asarray(fit.best), np.asarray(fit.sides).reshape(-1, 2)
    for bucket, (low, high) in BUCKETS.items():
        rows = fit.rows_of(bucket)
        missed = rows[best[rows] < FAIR_IOU]
        if len(missed) > _MISSED_SHARE * len(rows):
            worst = missed[np.argmin(best[missed])]
            message = (
                f"{len(missed)} of {len(rows)} {bucket} objects ({low:g} to {high:g} px after the resize) "
                f"have no {fit.what[:-1]} with IoU {FAIR_IOU:g}; the worst has {best[worst]:.2f}: "
                f"{_advice(fit)}"
            )
            yield found("missed_objects", *_place(truth, fit.places[int(worst)]), message)
    below = (
        np.flatnonzero((sides < fit.stride).any(axis=1)) if fit.what == "anchors" else np.zeros(0, np.int64)
    )
    if len(below) > _BELOW_SHARE * len(sides):
        least = below[np.argmin(sides[below].min(axis=1))]
        message = (
            f"{len(below)} of {len(sides)} objects have a side of less than {fit.stride} px, a cell of the "
            f"finest feature map, after the resize; the smallest is {sides[least, 0]:.0f} x "
            f"{sides[least, 1]:.0f} px: raise data.resize.short_px, or take a neck of type fpn"
        )
        yield found("below_stride", *_place(truth, fit.places[int(least)]), message)
    mean = float(np.mean(fit.positives)) if fit.positives else 0.0
    if fit.positives and mean < _FEW_SHARE * fit.drawn:
        message = (
            f"{mean:.1f} of the {fit.drawn} {fit.what} drawn in an image hold an object; the rest learns "
            f"background: {_advice(fit)}"
        )
        yield found("few_positives", None, None, message)


def _advice(fit: Fit) -> str:
    if fit.what == "anchors":
        return "detkit init chooses data.resize and detector.proposals.anchors that fit a dataset"
    return "take a method or mode of proposals that finds more, and look at detkit recall"


def _place(truth: AnnotationSet, place: tuple[int, int]) -> tuple[str, str]:
    image, number = place
    row = int(truth.offsets[image]) + number
    return str(truth.image_files[image]), f"object {number + 1} ({truth.classes[truth.labels[row]]})"
