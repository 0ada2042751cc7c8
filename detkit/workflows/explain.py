"""`detkit explain`: what in an image made a detector say what it says, and whether to believe it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.capabilities import DecidesOnRegions
from detkit.data.datasets.named_images import labels_of_image
from detkit.data.images import decode_image
from detkit.data.loading.batching import collate
from detkit.errors import UserError
from detkit.explain.checks import Curves
from detkit.explain.methods import METHODS, Explainer, Explanation, Method
from detkit.explain.subject import Output, Subject, require_box
from detkit.inference.model_file import model_path
from detkit.inference.predictor import Predictor, samples_of
from detkit.names import message
from detkit.report.content import Number, Picture, Plot, Table
from detkit.report.draw import draw_detections, write_image
from detkit.report.explanation_page import curve, explanation_page, overlay
from detkit.runs.predictor import build_predictor
from detkit.runtime.threads import number_kept
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import file_stamp, key_of
from detkit.storage.run_folder import results_folder
from detkit.structures import ImageBatch

PAGE = "explanation.html"
MASKS = 2000


@dataclass(frozen=True)
class Explained:
    """What `explain` found, and where it wrote it.

    Attributes:
        folder: holds the page and a picture of each map.
        image: the file.
        target: the box, class, output and value that are explained.
        explanations: one a method, in the order asked for.
        at_random: the curves of random maps; None for a coordinate.
    """

    folder: Path
    image: str
    target: dict[str, Any]
    explanations: tuple[Explanation, ...]
    at_random: Curves | None

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        methods = [
            {
                "name": own.method,
                "file": None if own.heat is None else str(self.folder / _file(own)),
                "reason": own.why_not or None,
            }
            for own in self.explanations
        ]
        checks: dict[str, Any] = {
            own.method: _checks(own) for own in self.explanations if own.heat is not None
        }
        if self.at_random is not None:
            checks["random"] = _areas(self.at_random)
        return {
            "image": self.image,
            "target": self.target,
            "methods": methods,
            "checks": checks,
            "out": str(self.folder),
        }


def explain(
    weights: str | Path,
    image: str | Path,
    *,
    box: Sequence[float] | None = None,
    label: str | None = None,
    output: Output = "class",
    methods: Sequence[Method] | None = None,
    masks: int = MASKS,
    labels: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    allow_custom: bool = False,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Explained:
    """Explain one output of a detector: maps of the pixels that matter, each with checks of the map.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        image: an image file.
        box: corner box in pixels of the file; it need not be one that is detected. None takes that of the
            best detection.
        label: the class by name; None takes that of the best detection, or the likeliest at the box.
        output: class is the class's logit at the box, objectness that of the proposal network's anchor there,
            x1, y1, x2 and y2 a coordinate of the box as it is moved.
        methods: see `detkit.explain.methods`; None takes all.
        masks: of D-RISE.
        labels: a dataset that holds the image: maps are to point at its objects of the class, instead of at
            the box.
        seed: of masks, random maps and random weights.
        out: folder for the page and pictures, new or empty; None takes a new one in runs/.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        on_image: called with how many images were looked at, and how many there are to look at.

    Raises:
        UserError: a file cannot be read, the box or the class is none, nothing is detected, or the dataset
            does not hold the image.
    """
    methods = METHODS if methods is None else methods
    _require_settings(box, methods, masks)
    weights, image = model_path(weights), Path(image)
    pixels = decode_image(image)
    predictor = build_predictor(weights, device, allow_custom=allow_custom)
    with number_kept(), predictor.session.threads.of("detection").unit(pixels.size):
        subject = _subject(predictor, pixels, box, label, output)
        name = predictor.classes[subject.label]
        explainer = Explainer(subject, _objects(labels, image, name, subject), masks, seed)
        what = (str(image), box, label, output, *methods, masks, str(labels), seed)
        with results_folder(out, "explain", key_of("explain", file_stamp(weights), *what)) as folder:
            steps = _Steps(explainer.num_steps(methods), on_image)
            explainer = replace(explainer, on_step=steps)
            at_random = explainer.random_curves()
            found = tuple(explainer(methods, at_random))
            result = Explained(folder, str(image), _target(subject, name), found, at_random)
            _write(result, pixels, str(weights), predictor, subject)
    return result


class _Steps:
    def __init__(self, total: int, on_image: Callable[[int, int], None]) -> None:
        self.done, self.total, self.on_image = 0, total, on_image

    def __call__(self, count: int) -> None:
        self.done += count
        self.on_image(min(self.done, self.total), self.total)


def _require_settings(box: Sequence[float] | None, methods: Sequence[Method], masks: int) -> None:
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise UserError(
            f"method: expected some of {', '.join(METHODS)}; got {unknown[0] if unknown else 'none'!r}"
        )
    if masks < 1:
        raise UserError(f"masks: expected at least 1; got {masks}")
    require_box(box)


def _subject(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    box: Sequence[float] | None,
    label: str | None,
    output: Output,
) -> Subject:
    """Return what is explained: what was asked for, completed by what is detected."""
    height, width = pixels.shape[:2]
    if label is not None and label not in predictor.classes:
        raise UserError(f"class: the model knows {message(', '.join(predictor.classes))}; got {label!r}")
    number = None if label is None else predictor.classes.index(label)
    images = collate(samples_of(pixels, [predictor.resize], predictor.proposer), seed=0).images
    images = images.to(predictor.session.device)
    if box is None:
        box, number = _best(predictor, pixels, number)
    place = torch.tensor(list(box), dtype=torch.float32)
    if not (place[0] < width and place[1] < height and place[2] > 0 and place[3] > 0):
        raise UserError(f"box: lies outside the image, which has {width} x {height} pixels")
    subject = Subject(predictor.model, images, place, number or 0, output)
    if number is None:
        subject = Subject(predictor.model, images, place, _likeliest(subject, images), output)
    if output != "class" and not subject.has_gradient:
        raise UserError(f"target: the model says no {output} of a given box; it has class alone")
    with torch.no_grad():
        subject.scores(images.pixels)  # a part that cannot say is heard of before there is a folder
    return subject


def _best(predictor: Predictor, pixels: NDArray[np.uint8], number: int | None) -> tuple[Sequence[float], int]:
    found = predictor.predict(pixels, threshold=0.01)
    rows = np.flatnonzero(found.labels == number) if number is not None else np.arange(len(found.scores))
    if not len(rows):
        what = "nothing" if number is None else f"no {predictor.classes[number]}"
        raise UserError(f"{what} is detected in the image; name a box with --box x1,y1,x2,y2")
    best = rows[np.argmax(found.scores[rows])]
    if predictor.classifies_images:
        return (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0])), int(found.labels[best])
    return found.boxes[best].tolist(), int(found.labels[best])


def _likeliest(subject: Subject, images: ImageBatch) -> int:
    if not isinstance(subject.model, DecidesOnRegions):
        raise UserError("class: the model says nothing of a given box; name the class with --class")
    with torch.no_grad():
        return int(subject.model.decide(images, [subject.region]).logits[0].argmax())


def _objects(dataset: str | Path | None, image: Path, name: str, subject: Subject) -> NDArray[np.floating]:
    """Return the (N, 4) boxes, in pixels of the batch, that maps are to point at."""
    if dataset is None:
        return subject.region.cpu().numpy()
    truth = labels_of_image(dataset, image)
    boxes = to_corners(truth.boxes, truth.box_format)
    boxes = boxes[[truth.classes[label] == name for label in truth.labels]]
    if not len(boxes):
        raise UserError(f"{dataset}: no {name} is labelled in {image.name}")
    (height, width), (old_height, old_width) = subject.image.sizes[0], subject.image.originals[0]
    return np.asarray(boxes * np.tile([width / old_width, height / old_height], 2))


def _target(subject: Subject, name: str) -> dict[str, Any]:
    score = float(subject.scores(subject.image.pixels)[0])
    value = None
    if subject.has_gradient:
        with torch.no_grad():
            value = float(subject.value(subject.image.pixels)[0])
    return {
        "output": subject.output,
        "box": [round(side, 2) for side in subject.box.tolist()],
        "label": name,
        "value": value,
        "score": score if subject.output in {"class", "objectness"} else None,
    }


def _file(explanation: Explanation) -> str:
    return f"{explanation.method}.jpg"


def _areas(curves: Curves) -> dict[str, float]:
    return {"deletion_auc": curves.deletion_auc, "insertion_auc": curves.insertion_auc}


def _checks(own: Explanation) -> dict[str, Any]:
    none = {"deletion_auc": None, "insertion_auc": None}
    return {
        "randomisation": own.randomisation,
        **(none if own.curves is None else _areas(own.curves)),
        "pointing": own.pointing,
        "completeness": own.completeness,
        "failed": list(own.failed),
    }


def _write(
    result: Explained, pixels: NDArray[np.uint8], weights: str, predictor: Predictor, subject: Subject
) -> None:
    """Write a picture of each map, and the page."""
    target = result.target
    box, label = np.asarray([target["box"]]), np.asarray([subject.label])
    score = np.asarray([target["score"] or 0.0])
    shown = draw_detections(pixels, box, label, score, predictor.classes)
    pictures = [Picture(shown, "the image and the box", note=Path(result.image).name)]
    height, width = subject.image.sizes[0]
    for own in result.explanations:
        if own.heat is None:
            continue
        drawn = overlay(pixels, own.heat[:height, :width])
        write_image(result.folder / _file(own), drawn)
        tag = f"{len(own.failed)} failed" if own.failed else ""
        pictures.append(Picture(drawn, own.method, tag, "; ".join(own.failed) or "passed all checks"))
    what = "class" if target["output"] == "class" else target["output"]
    figures = [Number("class", target["label"]), Number(f"{what}, value", target["value"])]
    figures += [] if target["score"] is None else [Number("score", target["score"])]
    notes = [f"Not made: {own.why_not}." for own in result.explanations if own.heat is None]
    page = explanation_page(
        f"Why {target['label']}?" if what == "class" else f"Why this {what} of {target['label']}?",
        f"{result.image}, by {weights}",
        figures,
        notes,
        pictures,
        Table(_COLUMNS, tuple(_rows(result))),
        tuple(_plots(result)),
    )
    write_atomically(result.folder / PAGE, page)


_COLUMNS = ("method", "randomisation", "deletion", "insertion", "points at", "completeness", "failed")


def _rows(result: Explained) -> Iterator[tuple[Any, ...]]:
    for own in result.explanations:
        if own.heat is not None:
            checks = _checks(own)
            yield (
                own.method,
                own.randomisation[-1],
                checks["deletion_auc"],
                checks["insertion_auc"],
                "yes" if own.pointing else "no",
                own.completeness,
                len(own.failed),
            )
    if result.at_random is not None:
        areas = _areas(result.at_random)
        yield ("at random", None, areas["deletion_auc"], areas["insertion_auc"], None, None, None)


def _plots(result: Explained) -> Iterator[Plot]:
    known = [(own.method, own.curves) for own in result.explanations if own.curves is not None]
    if result.at_random is None:
        return
    known.append(cast(Any, ("at random", result.at_random)))
    deletion = tuple(curve(name, own.deletion, own.deletion_auc) for name, own in known)
    insertion = tuple(curve(name, own.insertion, own.insertion_auc) for name, own in known)
    yield Plot("Deletion", "share of the image taken away", deletion, (0.0, 1.0))
    yield Plot("Insertion", "share of the image given back", insertion, (0.0, 1.0))
