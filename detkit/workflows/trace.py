"""`detkit trace`: the way of an object through a detector, and the step that lost it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.data.datasets.named_images import labels_of_image
from detkit.data.images import decode_image
from detkit.data.loading.batching import collate
from detkit.errors import UserError
from detkit.evaluation.measure import measure
from detkit.explain.lives import IOU, OUTCOMES, Life, Scene, Stage
from detkit.explain.subject import require_box
from detkit.inference.model_file import model_path
from detkit.inference.predictor import Predictor, samples_of
from detkit.inference.score_floor import Aim
from detkit.models.norm import folds_kept
from detkit.names import message
from detkit.ops.boxes import pairwise_iou
from detkit.report.life_page import LifeView, life_page
from detkit.runs.predictor import build_predictor
from detkit.runs.tracing import reported_set, require_traces, scene_of
from detkit.runtime.threads import number_kept
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import file_stamp, key_of
from detkit.storage.run_folder import results_folder

PAGE = "trace.html"


@dataclass(frozen=True)
class Traced:
    """What `trace` found, and where it wrote it.

    Attributes:
        folder: holds the page.
        image: the file.
        classes: names of the classes.
        lives: what became of each object.
        stages: the steps of each.
    """

    folder: Path
    image: str
    classes: tuple[str, ...]
    lives: tuple[Life, ...]
    stages: tuple[tuple[Stage, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        objects = [
            {
                "label": self.classes[life.label],
                "box": [round(side, 2) for side in life.box],
                "outcome": life.outcome,
                "meaning": OUTCOMES[life.outcome],
                "steps": [stage.to_json() for stage in stages],
            }
            for life, stages in zip(self.lives, self.stages, strict=True)
        ]
        return {"image": self.image, "objects": objects, "out": str(self.folder)}


def trace(
    weights: str | Path,
    image: str | Path,
    *,
    box: Sequence[float] | None = None,
    label: str | None = None,
    labels: str | Path | None = None,
    threshold: float | Aim | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    allow_custom: bool = False,
) -> Traced:
    """Follow objects of an image through a detector: region, scores, box, suppression, match.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        image: an image file.
        box: corner box of an object in pixels of the file, with `label`.
        label: its class by name.
        labels: a dataset that holds the image, whose objects are followed; None follows the box, and without
            one what is detected.
        threshold: lowest score that counts as a detection, or f1, precision or recall; see
            `Predictor.predict`.
        out: folder for the page, new or empty; None takes a new one in runs/.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.

    Raises:
        UserError: a file cannot be read, the box or the class is none, the model cannot be traced, or the
            dataset does not hold the image.
    """
    weights, image = model_path(weights), Path(image)
    _require_box(box, label, labels)
    pixels = decode_image(image)
    predictor = build_predictor(weights, device, allow_custom=allow_custom)
    model = require_traces(predictor.model)
    truth = None if labels is None else _labelled(labels, image, predictor)
    floors = torch.from_numpy(predictor.floors(threshold))
    boxes, numbers = _objects(predictor, pixels, box, label, truth, threshold)
    batch = collate(samples_of(pixels, [predictor.resize], predictor.proposer), seed=0).images
    work = predictor.session.threads.of("detection").unit(pixels.size)
    with number_kept(), work, folds_kept(predictor.model):
        scene = scene_of(model, batch, boxes, numbers, predictor.session, predictor.classes, floors)
    found = _found(scene, boxes, numbers, truth)
    lives = tuple(
        scene.life(own, number, found=seen)
        for own, number, seen in zip(boxes, numbers.tolist(), found.tolist(), strict=True)
    )
    stages = tuple(tuple(scene.stages(life)) for life in lives)
    key = key_of("trace", file_stamp(weights), str(image), str(box), label, str(labels), str(threshold))
    with results_folder(out, "trace", key) as folder:
        result = Traced(folder, str(image), predictor.classes, lives, stages)
        views = [
            LifeView(predictor.classes[life.label], life.outcome, own)
            for life, own in zip(lives, stages, strict=True)
        ]
        write_atomically(folder / PAGE, life_page(f"{image.name}, step by step", str(weights), pixels, views))
    return result


def _require_box(box: Sequence[float] | None, label: str | None, labels: str | Path | None) -> None:
    require_box(box)
    if (box is None) != (label is None):
        raise UserError("box and class: an object that is followed has both; give both or none")
    if box is not None and labels is not None:
        raise UserError("labels: follow the objects of a dataset, or one box; got both")


def _labelled(dataset: str | Path, image: Path, predictor: Predictor) -> AnnotationSet:
    """Return the labels of one image of a dataset."""
    own = labels_of_image(dataset, image)
    unknown = sorted({own.classes[number] for number in own.labels} - set(predictor.classes))
    if unknown:
        raise UserError(
            f"{dataset}: {image.name} holds {unknown[0]}; the model knows "
            f"{message(', '.join(predictor.classes))}"
        )
    if not own.num_objects:
        raise UserError(f"{dataset}: no object is labelled in {image.name}")
    return own


def _objects(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    box: Sequence[float] | None,
    label: str | None,
    truth: AnnotationSet | None,
    threshold: float | Aim | None,
) -> tuple[Tensor, Tensor]:
    """Return the (M, 4) boxes and the (M,) classes of what is followed."""
    if truth is not None:
        corners = torch.from_numpy(to_corners(truth.boxes, truth.box_format)).float()
        return corners, torch.tensor([predictor.classes.index(truth.classes[own]) for own in truth.labels])
    if box is None:
        found = predictor.predict(pixels, threshold=threshold)
        if not len(found.scores):
            raise UserError("nothing is detected in the image; name a box with --box, or --labels")
        return torch.from_numpy(found.boxes), torch.from_numpy(found.labels)
    if label not in predictor.classes:
        raise UserError(f"class: the model knows {message(', '.join(predictor.classes))}; got {label!r}")
    return torch.tensor([list(box)], dtype=torch.float32), torch.tensor([predictor.classes.index(label)])


def _found(scene: Scene, boxes: Tensor, numbers: Tensor, truth: AnnotationSet | None) -> NDArray[np.bool_]:
    """Return which objects have a detection: by COCO's rule where they are labelled, else any at all."""
    trace = scene.trace
    if truth is not None:
        records = measure(truth, reported_set(scene, truth), "coco").records
        return np.asarray(records.found_by[:, records.at(IOU)] >= 0)
    kept = trace.reported & (trace.scores >= scene.floors[trace.labels])
    on_it = (pairwise_iou(boxes.float(), trace.boxes[kept].float()) >= IOU) & (
        numbers[:, None] == trace.labels[kept]
    )
    return np.asarray(on_it.any(dim=1))
