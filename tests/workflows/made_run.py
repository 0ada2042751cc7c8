"""Folders of runs that nothing was trained for: the labels themselves, some of them lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.annotations.coco_results import write_coco_results
from detkit.annotations.coordinates import from_corners, to_corners
from detkit.annotations.dataset import DetectionSet
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.datasets.builder import open_validation_set

SMALL = ("data.train.num_images=4", "data.val.num_images=30", "device=cpu")


def make_run(folder: Path, found_share: float, seed: int = 0, *overrides: str) -> Path:
    """Write config.yaml and detections.json of a detector that finds a share of the objects."""
    config = load_config("faster_rcnn_resnet18_synthetic", [*SMALL, *overrides])
    truth = open_validation_set(config.data).annotations
    rng = np.random.default_rng(seed)
    kept = rng.random(truth.num_objects) < found_share
    found = DetectionSet(
        truth.image_index()[kept],
        truth.labels[kept],
        rng.random(kept.sum()),
        truth.boxes[kept],
        truth.box_format,
    )
    moved = to_corners(found.boxes, truth.box_format) + 500.0
    false = replace(found, boxes=from_corners(moved, truth.box_format), scores=found.scores / 2)
    both = DetectionSet(
        *(
            np.concatenate([getattr(one, name) for one in (found, false)])
            for name in ("images", "labels", "scores", "boxes")
        ),
        box_format=truth.box_format,
    )
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    write_coco_results(folder / "detections.json", both, truth)
    return folder
