"""The official COCO code, fed with detkit's arrays."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detkit.annotations.dataset import AnnotationSet, DetectionSet


def coco_json(truth: AnnotationSet) -> dict[str, Any]:
    """The annotations as COCO's JSON object."""
    images = truth.image_index()
    return {
        "images": [{"id": int(i)} for i in truth.image_ids],
        "categories": [
            {"id": int(c), "name": n} for c, n in zip(truth.category_ids, truth.classes, strict=True)
        ],
        "annotations": [
            {
                "id": int(truth.ids[m]),
                "image_id": int(truth.image_ids[images[m]]),
                "category_id": int(truth.category_ids[truth.labels[m]]),
                "bbox": truth.boxes[m].tolist(),
                "area": float(truth.areas[m]),
                "iscrowd": int(truth.crowd[m]),
            }
            for m in range(truth.num_objects)
        ],
    }


def results_json(truth: AnnotationSet, found: DetectionSet) -> list[dict[str, Any]]:
    """The detections as COCO's list of results."""
    return [
        {
            "image_id": int(truth.image_ids[found.images[d]]),
            "category_id": int(truth.category_ids[found.labels[d]]),
            "bbox": found.boxes[d].tolist(),
            "score": float(found.scores[d]),
        }
        for d in range(len(found.scores))
    ]


def official_coco(
    truth: AnnotationSet, found: DetectionSet, limits: tuple[int, ...] = (1, 10, 100)
) -> COCOeval:
    """Run evaluate, accumulate and, with the usual limits, summarize of pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        annotations.dataset = coco_json(truth)
        annotations.createIndex()
        results = results_json(truth, found)
        if results:
            detections = annotations.loadRes(results)
        else:  # loadRes cannot read an empty list
            detections = COCO()
            detections.dataset = {**annotations.dataset, "annotations": []}
            detections.createIndex()
        scorer = COCOeval(annotations, detections, "bbox")
        scorer.params.maxDets = list(limits)
        scorer.evaluate()
        scorer.accumulate()
        if limits == (1, 10, 100):
            scorer.summarize()
    return scorer
