"""Trainability of a detector on its dataset here: anchors or proposals that fit its objects, and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.capabilities import MatchesObjects
from detkit.checks.findings import Finding, found
from detkit.data.datasets.index import Index
from detkit.ops.boxes import pairwise_iou
from detkit.runtime.memory import free_bytes, shared_bytes, shown_bytes
from detkit.training.memory_probe import SAFETY, MemoryProbe

FAIR_IOU = 0.5
COARSE_STRIDE = 16  # pixels of a cell, from which on a pyramid would help
PROBED = 2  # images of a step whose memory is measured
_MISSED_SHARE = 0.1  # of the objects of a size that nothing fits, from which on it is reported
_FEW_SHARE = 0.02  # of the anchors or regions drawn that hold an object, below which it is reported
_BELOW_SHARE = 0.01  # of the objects that are smaller than a cell
BUCKETS = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, float("inf"))}
"""Square roots of areas in pixels of the resized image, as COCO divides them."""


@dataclass
class Fit:
    """How anchors or proposals fit the objects of some images.

    Attributes:
        what: `anchors` or `proposals`.
        stride: pixels of a cell of the finest feature map.
        best: the best IoU of each object looked at.
        sides: (M, 2) width and height of these objects in pixels of the resized image.
        places: image and number within it of each object.
        positives: anchors or regions with an object that were drawn in each image.
        drawn: how many are drawn in an image at most.
    """

    what: str
    stride: int
    drawn: int
    best: list[float] = field(default_factory=list)
    sides: list[tuple[float, float]] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    positives: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "what": self.what,
            "images": len(self.positives),
            "objects": len(self.best),
            "stride_px": self.stride,
            "positives_per_image": float(np.mean(self.positives)) if self.positives else None,
            "best_iou": {name: self._bucket(name) for name in BUCKETS},
        }

    def rows_of(self, bucket: str) -> NDArray[np.int64]:
        """Return the rows of the objects of a size."""
        low, high = BUCKETS[bucket]
        sizes = np.sqrt(np.prod(np.asarray(self.sides).reshape(-1, 2), axis=1))
        return np.flatnonzero((sizes >= low) & (sizes < high))

    def _bucket(self, name: str) -> dict[str, float | int | None]:
        best = np.asarray(self.best)[self.rows_of(name)]
        mean = float(best.mean()) if len(best) else None
        share = float((best >= FAIR_IOU).mean()) if len(best) else None
        return {"objects": len(best), "mean": mean, "share_0.5": share}


def measure_fit(
    model: MatchesObjects,
    annotations: AnnotationSet,
    resized: Callable[[int, int], tuple[int, int]],
    proposals: Callable[[int], NDArray[np.float32]] | None,
    most: int,
) -> Fit:
    """Lay the anchors or proposals of a detector over its objects, as training would.

    Args:
        model: the detector.
        annotations: of the training images.
        resized: (height, width) of an image file -> (height, width) of what the detector reads, in pixels.
        proposals: returns the (P, 4) float32 boxes of an image in pixels of its file; None where the
            detector has anchors.
        most: how many images to look at, a fixed sample.

    Raises:
        UserError: an image cannot be read.
    """
    assert model.candidates is not None
    index = Index.of(annotations)
    fit = Fit(model.candidates, model.finest_stride, model.candidates_per_image)
    for image in sample_images(annotations, most):
        height, width = index.size(image)
        size = resized(height, width)
        scale = torch.tensor([size[1] / width, size[0] / height] * 2)
        target = index.target(image)
        target = replace(target, boxes=target.boxes * scale)
        given = None if proposals is None else torch.tensor(proposals(image)) * scale
        candidates, positives = model.candidate_boxes(target, size, given)
        counted = ~(target.crowd | target.difficult)
        ious = pairwise_iou(candidates, target.boxes)
        fit.best += (ious.amax(0) if len(ious) else torch.zeros(len(counted)))[counted].tolist()
        fit.sides += [tuple(side) for side in (target.boxes[:, 2:] - target.boxes[:, :2])[counted].tolist()]
        fit.places += [(image, number) for number in torch.nonzero(counted).flatten().tolist()]
        fit.positives.append(positives)
    return fit


def sample_images(truth: AnnotationSet, most: int) -> list[int]:
    """Return at most so many images with objects, spread evenly over the set."""
    with_objects = np.flatnonzero(np.diff(truth.offsets) > 0)
    chosen = np.linspace(0, len(with_objects) - 1, min(most, len(with_objects))).round().astype(np.int64)
    return [int(image) for image in with_objects[chosen]]


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
            size = f"{low:g} to {high:g} px" if np.isfinite(high) else f"from {low:g} px on"
            advice = _LARGER if bucket == "large" and fit.what == "anchors" else _advice(fit)
            message = (
                f"{len(missed)} of {len(rows)} {bucket} objects ({size} after the resize) "
                f"have no {fit.what[:-1]} with IoU {FAIR_IOU:g}; the worst has {best[worst]:.2f}: {advice}"
            )
            yield found("missed_objects", *_place(truth, fit.places[int(worst)]), message)
    below = np.flatnonzero((sides < fit.stride).any(axis=1) & (fit.what == "anchors"))
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


_LARGER = "larger or longer anchors (proposals.anchors: sizes_px, ratios), or smaller images (data.resize)"


def _advice(fit: Fit) -> str:
    if fit.what == "anchors" and fit.stride >= COARSE_STRIDE:
        return "a feature pyramid finds smaller ones (neck: {type: fpn}), and larger images (data.resize)"
    if fit.what == "anchors":
        return "larger images (data.resize), other anchors (proposals.anchors), or tiles of the images"
    return "take a method or mode of proposals that finds more, and look at detkit recall"


def _place(truth: AnnotationSet, place: tuple[int, int]) -> tuple[str, str]:
    image, number = place
    row = int(truth.offsets[image]) + number
    return str(truth.image_files[image]), f"object {number + 1} ({truth.classes[truth.labels[row]]})"


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
