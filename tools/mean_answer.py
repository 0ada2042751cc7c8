"""Measure the answer without a look: the true class with the mean box, and pose, of its training images."""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

from detkit.annotations.coordinates import from_corners, points_from_pixels, points_to_pixels, to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.config.load import load_config
from detkit.data.datasets.builder import open_training_set, open_validation_set
from detkit.detectors.localizer.coding import decode_boxes, decode_points, encode_boxes, encode_points
from detkit.evaluation.metrics.oks import evaluate_oks
from detkit.evaluation.metrics.pcp import evaluate_pcp
from detkit.ops.boxes import pairwise_iou


def sizes_of(truth: AnnotationSet) -> list[tuple[int, int]]:
    """Return (height, width) of each image."""
    return [(height, width) for height, width in truth.sizes.tolist()]


def mean_box(train: AnnotationSet) -> torch.Tensor:
    """Return the (1, 4) code of the mean box of images with one object each."""
    corners = torch.from_numpy(to_corners(train.boxes, train.box_format)).float()
    return encode_boxes(corners, sizes_of(train)).mean(dim=0, keepdim=True)


def mean_poses(train: AnnotationSet) -> torch.Tensor:
    """Return the (K, P, 2) codes of the mean pose of each class, over the points that are labelled."""
    assert train.keypoints is not None
    points = torch.from_numpy(points_to_pixels(train.keypoints, train.box_format)).float()
    codes, shows = encode_points(points[..., :2], sizes_of(train)), points[..., 2:] > 0
    rows = [torch.from_numpy(train.labels == label) for label in range(len(train.classes))]
    return torch.stack([(codes * shows)[own].sum(dim=0) / shows[own].sum(dim=0) for own in rows])


def measure(train: AnnotationSet, val: AnnotationSet) -> dict[str, float]:
    """Return the figures by name; both sets have one object an image."""
    boxes = torch.cat([decode_boxes(mean_box(train), size) for size in sizes_of(val)])
    true = torch.from_numpy(to_corners(val.boxes, val.box_format)).float()
    ious = torch.cat([pairwise_iou(own[None], box[None])[0] for own, box in zip(true, boxes, strict=True)])
    found = {f"iou {least}": float((ious >= least).float().mean()) for least in (0.5, 0.75)}
    found["mean iou"] = float(ious.mean())
    if val.keypoints is None:
        return found
    points = decode_points(mean_poses(train)[val.labels], sizes_of(val)).double().numpy()
    answers = DetectionSet(
        images=np.arange(val.num_images),
        labels=val.labels,
        scores=np.ones(val.num_images),
        boxes=from_corners(boxes.double().numpy(), val.box_format),
        box_format=val.box_format,
        keypoints=points_from_pixels(points, val.box_format),
    )
    stats = evaluate_oks(val, answers).stats
    return found | {"oks": stats["AP"], "oks50": stats["AP50"], "pcp": evaluate_pcp(val, answers).total}


def main(name: str, *overrides: str) -> None:
    """Print the figures for a localizer's config of images with one object each."""
    data = load_config(name, overrides).data
    print(json.dumps(measure(open_training_set(data)[0].annotations, open_validation_set(data).annotations)))


if __name__ == "__main__":
    main(*sys.argv[1:])
