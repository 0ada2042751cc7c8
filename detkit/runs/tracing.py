"""What a loaded detector did with the objects of an image, or of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.capabilities import TracesCandidates
from detkit.data.datasets.source import Source
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.transforms.geometric import Transform
from detkit.errors import UserError
from detkit.explain.lives import Life, LostObjects, Scene, in_file_pixels
from detkit.inference.detect_set import as_detection_set, detections_as_arrays
from detkit.models.norm import folds_kept
from detkit.report.operating_point import OperatingPoint
from detkit.runs.results import relabelled
from detkit.runtime.progress import ProgressLine
from detkit.runtime.session import Session
from detkit.structures import Detections, ImageBatch, Target


def require_traces(model: nn.Module) -> TracesCandidates:
    """Return the model as one that can be traced.

    Raises:
        UserError: it looks at whole images.
    """
    if not isinstance(model, TracesCandidates):
        raise UserError(
            "trace: the model looks at whole images; it has no proposals that an object is lost by"
        )
    return model


@torch.inference_mode()
def scene_of(
    model: TracesCandidates,
    image: ImageBatch,
    boxes: Tensor,
    labels: Tensor,
    session: Session,
    classes: Sequence[str],
    floors: Tensor,
) -> Scene:
    """Return what a detector did in an image.

    Args:
        model: on the session's device.
        image: a batch of one.
        boxes: (M, 4) corner boxes of objects in pixels of the file.
        labels: (M,) their classes.
        session: where the model is.
        classes: K names.
        floors: (K,) lowest score of each class that is reported.
    """
    (height, width), (old_height, old_width) = image.sizes[0], image.originals[0]
    across, down = width / old_width, height / old_height
    scaled = boxes.float() * torch.tensor([across, down, across, down])
    target = Target.of(scaled, labels).to(session.device)
    with session.autocast():
        trace = model.trace(image.to(session.device), [target])[0]
    moved = in_file_pixels(trace, (height, width), (old_height, old_width))
    return Scene(moved, classes, floors, (across, down))


def reported_set(scene: Scene, truth: AnnotationSet) -> DetectionSet:
    """Return what is reported in an image, of the classes of a set that has this image alone."""
    trace = scene.trace
    kept = trace.reported & (trace.scores >= scene.floors[trace.labels])
    found = Detections(trace.boxes[kept].float(), trace.scores[kept].float(), trace.labels[kept])
    every = as_detection_set(detections_as_arrays([(0, found)]), truth.box_format)
    return relabelled(every, tuple(scene.classes), truth.classes)


def trace_objects(
    model: nn.Module,
    session: Session,
    source: Source,
    transforms: Sequence[Transform],
    point: OperatingPoint,
    model_classes: Sequence[str],
) -> LostObjects:
    """Return what became of each object that an evaluation counts.

    Found are those that have a detection in the match records at IoU 0.5; images with others are looked at
    again.

    Args:
        model: the detector that was evaluated.
        session: where it is.
        source: the images, with proposals for a detector that is given some.
        transforms: what each goes through.
        point: the detections that count.
        model_classes: names that the model's labels point to.

    Raises:
        UserError: the model cannot be traced.
    """
    traces, truth = require_traces(model), source.annotations
    records, images = point.records, truth.image_index()
    found = records.found_by[:, records.at(0.5)] >= 0
    outcomes = np.where(records.counts, np.where(found, "found", "lost"), "").astype("U16")
    corners = torch.from_numpy(to_corners(truth.boxes, truth.box_format))
    places = torch.tensor([list(model_classes).index(name) for name in truth.classes])
    floors = torch.full((len(model_classes),), float("inf"), dtype=torch.float64)
    floors[places] = torch.from_numpy(point.thresholds)
    lives: dict[int, Life] = {}
    rows_of = [np.flatnonzero((images == image) & (outcomes == "lost")) for image in range(truth.num_images)]
    asked = [image for image, rows in enumerate(rows_of) if len(rows)]
    dataset = DetectionDataset.of(source, transforms, seed=0)
    with folds_kept(model), ProgressLine("lost objects", len(asked)) as progress:
        for done, image in enumerate(asked, 1):
            rows = rows_of[image]
            batch = collate([dataset[Key(0, image)]], seed=0).images
            own = places[torch.from_numpy(truth.labels[rows]).long()]
            scene = scene_of(traces, batch, corners[rows], own, session, model_classes, floors)
            for row, label in zip(rows.tolist(), own.tolist(), strict=True):
                lives[row] = scene.life(corners[row].float(), label, found=False)
                outcomes[row] = lives[row].outcome
            progress(done)
    return LostObjects(outcomes, lives)
