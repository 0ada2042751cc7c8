"""`detkit eval`: judge a trained detector on a config's validation images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.annotations.coco_results import write_coco_results
from detkit.annotations.comp4 import write_comp4
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.source import Source
from detkit.detectors.where_to_look import external_proposals, told_where_to_look
from detkit.errors import UserError
from detkit.evaluation.measure import Measured, measure
from detkit.models.compilation import compile_maps
from detkit.report.evaluation_page import Judged, write_page
from detkit.report.findings import zero_notes
from detkit.runs.model import load_detector
from detkit.runs.session import session
from detkit.storage.atomic_files import write_atomically
from detkit.storage.run_folder import CONFIG, DETECTIONS, REPORT, new_folder, say


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        measured: the numbers.
        out: folder with config.yaml, detections.json, report.html and, for VOC, comp4 files.
        num_images: images judged.
        seconds_per_image: time the detector took, reading included.
    """

    measured: Measured
    out: Path
    num_images: int
    seconds_per_image: float

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return self.measured.to_json()


def evaluate(config: Config, *, weights: Path, out: Path | None) -> Evaluation | None:
    """Judge a trained detector on the validation images and write what it found.

    Args:
        config: names the images (`data.val`), the metric and the device; the detector is the file's own.
        weights: a model.safetensors.
        out: folder for the results, which must be new or empty; None takes a new one beside the weights.

    Returns:
        The result; None in all processes but the first.

    Raises:
        UserError: the weights or the images cannot be read, or their classes differ.
    """
    source = open_validation_set(config.data)
    with session(config, trains=False) as run:
        loaded = load_detector(weights, run.device)
        require_same_classes(loaded.classes, source.annotations, weights)
        if config.evaluate.compile:
            compile_maps(loaded.model)
        detector = loaded.config.detector
        if external_proposals(detector) is not None:
            # Files of proposals belong to the images, and the images are the config's.
            named = config.detector if external_proposals(config.detector) is not None else detector
            source = told_where_to_look(named, source, "val")
        found, timing = run.detect(loaded.model, source)
        if found is None:
            return None
        measured = measure(source.annotations, found, config.evaluate.metric)
        folder = new_folder(out, "eval", weights.parent)
        seconds = timing.seconds / max(timing.num_images, 1)
        used = config.model_copy(update={"detector": loaded.config.detector})
        write_atomically(folder / CONFIG, dump_config(used))
        judged = judge(folder.resolve().name, used, source, found, measured, seconds)
        write_results(folder, judged)
        return Evaluation(measured, folder, source.annotations.num_images, seconds)


def judge(
    title: str,
    config: Config,
    source: Source,
    found: DetectionSet,
    measured: Measured,
    seconds: float | None,
) -> Judged:
    """Return an evaluation with all that its report shows."""
    backbone = getattr(config.detector, "backbone", None)
    trunk = f" on {backbone.type}{getattr(backbone, 'depth', '')}" if backbone else ""
    return Judged(
        title=title,
        subtitle=f"{config.detector.type}{trunk}, judged by {source.annotations.root}",
        truth=source.annotations,
        found=found,
        measured=measured,
        pixels=source.pixels,
        config_yaml=dump_config(config),
        seconds_per_image=seconds,
    )


def write_results(
    folder: Path, judged: Judged, metrics: Path | None = None, learned: AnnotationSet | None = None
) -> None:
    """Write detections.json, report.html and, for VOC's metrics, comp4 files, and say why an AP is zero.

    Args:
        folder: where they go.
        judged: the evaluation.
        metrics: metrics.jsonl of the training.
        learned: the annotations that were learned from.
    """
    write_coco_results(folder / DETECTIONS, judged.found, judged.truth)
    if judged.measured.voc is not None and judged.truth.box_format == "voc":
        write_comp4(folder / "comp4", judged.found, judged.truth)
    write_page(folder / REPORT, judged, metrics, learned)
    if judged.measured.accuracy is None:
        say(*zero_notes(judged.truth, judged.found, judged.measured.value, judged.measured.per_class))


def require_same_classes(classes: tuple[str, ...], truth: AnnotationSet, weights: Path) -> None:
    """Check that a model's classes are those of the annotations, in the same order.

    Raises:
        UserError: they differ; the message names both.
    """
    if classes == truth.classes:
        return
    raise UserError(
        f"{weights}: the model's classes are not those of the config:\n"
        f"  model:  {', '.join(classes)}\n"
        f"  config: {', '.join(truth.classes)}\n"
        "Write the model's classes, in its order, into data.classes (and those it does not know into "
        "data.ignore_classes), or fine-tune the model to yours: detkit train CONFIG --from WEIGHTS"
    )
