"""The stages of a Cascade R-CNN on one map, written from the paper as loops over Python numbers (float64).

It is given the proposals and the maps, and has its own pooling, layers, matching, losses, moves and averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.reference.overlaps import iou, nms
from tests.reference.roi_features import roi_align

Box = Sequence[float]
Array = NDArray[np.float64]
Objects = list[tuple[Box, int]]
"""The objects of an image: box and class."""


@dataclass(frozen=True)
class Stage:
    """A head: two layers and two outputs, and what it was trained for."""

    layers: list[tuple[Array, Array]]  # fc6, fc7, classes, box: weight and bias
    fg_iou: float
    weights: Box

    def vector(self, features: Array) -> Array:
        for weight, bias in self.layers[:2]:
            features = np.maximum(weight @ features + bias, 0)
        return features

    def scores(self, features: Array) -> Array:
        """K scores and that of background."""
        weight, bias = self.layers[2]
        logits = weight @ self.vector(features) + bias
        exponentials = np.exp(logits - logits.max())
        return exponentials / exponentials.sum()

    def deltas(self, features: Array) -> Array:
        weight, bias = self.layers[3]
        return weight @ self.vector(features) + bias

    def target(self, box: Box, region: Box) -> list[float]:
        (x, y, w, h), (rx, ry, rw, rh) = centre(box), centre(region)
        raw = ((x - rx) / rw, (y - ry) / rh, math.log(w / rw), math.log(h / rh))
        return [value * factor for value, factor in zip(raw, self.weights, strict=True)]

    def moved(self, region: Box, deltas: Array, size: tuple[int, int]) -> list[float]:
        rx, ry, rw, rh = centre(region)
        dx, dy, dw, dh = (value / factor for value, factor in zip(deltas, self.weights, strict=True))
        x, y, w, h = rx + dx * rw, ry + dy * rh, rw * math.exp(dw), rh * math.exp(dh)
        height, width = size
        edges = zip((x - w / 2, y - h / 2, x + w / 2, y + h / 2), (width, height) * 2, strict=True)
        return [min(max(edge, 0.0), float(limit)) for edge, limit in edges]


def centre(box: Box) -> tuple[float, float, float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def features_of(maps: Array, box: Box, stride: int, cells: int, samples: int) -> Array:
    pooled = [roi_align(one.tolist(), list(box), 1 / stride, cells, samples, True) for one in maps]
    return np.array(pooled).reshape(-1)


def losses(
    stages: list[Stage],
    maps: Array,
    proposals: list[Box],
    objects: Objects,
    size: tuple[int, int],
    pool: tuple[int, int, int],
) -> list[tuple[float, float]]:
    """Return each stage's two losses of an image of which all regions train."""
    found, boxes = [], proposals
    for stage in stages:
        regions = boxes + [box for box, _ in objects]
        class_loss, box_loss, passed = 0.0, 0.0, []
        for region in regions:
            features = features_of(maps, region, *pool)
            overlaps = [iou(region, box) for box, _ in objects]
            best = max(overlaps, default=0.0)
            label = -1  # background, which is the last
            if best >= stage.fg_iou:
                box, label = objects[overlaps.index(best)]
                wrong_by = np.abs(stage.deltas(features) - stage.target(box, region))
                box_loss += sum(e - 0.5 if e >= 1 else 0.5 * e * e for e in wrong_by)
            class_loss -= math.log(stage.scores(features)[label])
            moved = stage.moved(region, stage.deltas(features), size)
            if best < 0.95 and moved[2] > moved[0] and moved[3] > moved[1]:
                passed.append(moved)
        found.append((class_loss / len(regions), box_loss / len(regions)))
        boxes = passed
    return found


def detections(
    stages: list[Stage],
    maps: Array,
    proposals: list[Box],
    size: tuple[int, int],
    pool: tuple[int, int, int],
    nms_iou: float,
    scored: str = "last",
) -> list[tuple[int, float, list[float]]]:
    """Return class, score and box of all that is found in an image, class by class, best first."""
    boxes, scores = [], []
    for proposal in proposals:
        region, own = proposal, []
        for stage in stages[:-1]:
            own.append(features_of(maps, region, *pool))
            region = stage.moved(region, stage.deltas(own[-1]), size)
        features = features_of(maps, region, *pool)
        seen = [features] * len(stages) if scored == "last" else [*own, features]
        each = [stage.scores(one) for stage, one in zip(stages, seen, strict=True)]
        if scored == "own_logits":  # the softmax of a mean is a geometric mean, made to sum to 1
            product = np.prod(each, axis=0) ** (1 / len(each))
            each = [product / product.sum()]
        scores.append(sum(each) / len(each))
        boxes.append(stages[-1].moved(region, stages[-1].deltas(features), size))
    found = []
    for label in range(len(scores[0]) - 1):
        rows = [row for row, box in enumerate(boxes) if box[2] > box[0] and box[3] > box[1]]
        own = [float(scores[row][label]) for row in rows]
        kept = nms([boxes[row] for row in rows], own, nms_iou)
        found += [(label, own[index], boxes[rows[index]]) for index in kept]
    return found
