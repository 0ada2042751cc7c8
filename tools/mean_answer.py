"""Compare a localizer with the answer without a look: the mean box, and the mean pose of the true class.

Usage: python tools/mean_answer.py RUN
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from detkit.annotations.coco_results import read_coco_results
from detkit.annotations.coordinates import from_corners, points_from_pixels, points_to_pixels, to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.config.load import load_config
from detkit.data.datasets.builder import open_training_set, open_validation_set
from detkit.detectors.localizer.coding import decode_boxes, decode_points, encode_boxes, encode_points
from detkit.evaluation.metrics.accuracy import places
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


def share_right(boxes: torch.Tensor, val: AnnotationSet) -> dict[str, float]:
    """Return how often one box for each image lies right, at two least IoUs, and the mean IoU."""
    true = torch.from_numpy(to_corners(val.boxes, val.box_format)).float()
    ious = torch.cat([pairwise_iou(own[None], box[None])[0] for own, box in zip(true, boxes, strict=True)])
    return {f"iou {least}": float((ious >= least).float().mean()) for least in (0.5, 0.75)} | {
        "mean iou": float(ious.mean())
    }


def of_mean(train: AnnotationSet, val: AnnotationSet) -> dict[str, float]:
    """Return the figures of the mean answer; both sets have one object an image."""
    boxes = torch.cat([decode_boxes(mean_box(train), size) for size in sizes_of(val)])
    if val.keypoints is None:
        return share_right(boxes, val)
    points = decode_points(mean_poses(train)[val.labels], sizes_of(val)).double().numpy()
    answers = DetectionSet(
        images=np.arange(val.num_images),
        labels=val.labels,
        scores=np.ones(val.num_images),
        boxes=from_corners(boxes.double().numpy(), val.box_format),
        box_format=val.box_format,
        keypoints=points_from_pixels(points, val.box_format),
    )
    stats, limbs = evaluate_oks(val, answers).stats, evaluate_pcp(val, answers).total
    return share_right(boxes, val) | {"oks": stats["AP"], "oks50": stats["AP50"], "pcp": limbs}


def of_run(run: Path, val: AnnotationSet) -> dict[str, float]:
    """Return how often the box of a run's best guess lies right."""
    found = read_coco_results(run / "detections.json", val)
    best = np.flatnonzero(places(found.images, found.scores) == 0)
    best = best[np.argsort(found.images[best])]
    return share_right(torch.from_numpy(to_corners(found.boxes[best], found.box_format)).float(), val)


def main(folder: str) -> None:
    """Print the figures of the folder of a localizer's training, and those of the mean answer."""
    data = load_config(Path(folder) / "config.yaml").data
    train, val = open_training_set(data)[0].annotations, open_validation_set(data).annotations
    print(json.dumps({"found": of_run(Path(folder), val), "mean": of_mean(train, val)}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
