"""`detkit eval`: evaluate a trained detector on a config's validation images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.capabilities import ClassifiesWindows
from detkit.config.dump import dump_config
from detkit.config.load import as_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.source import Source
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.transforms.builder import eval_transforms
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import Measured, measure
from detkit.explain.lives import LostObjects
from detkit.inference.model_file import model_path
from detkit.models.compilation import compile_maps
from detkit.report.filters import filter_pictures
from detkit.report.operating_point import operating_point
from detkit.runs.predictor import LoadedDetector, augmentation_of, load_detector
from detkit.runs.results import evaluated_run, relabelled, require_known_classes, write_results
from detkit.runs.resume import note_environment
from detkit.runs.session import detect_with, session
from detkit.runs.tracing import require_traces, trace_objects
from detkit.runs.window_curves import window_curves
from detkit.runtime.processes import from_main
from detkit.runtime.session import Session
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import key_of
from detkit.storage.run_folder import CONFIG, results_folder

TRACE = "trace.json"


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        measured: the numbers.
        found: the detections that they are of.
        out: folder with config.yaml, detections.json, report.html and, for VOC, comp4 files.
        num_images: images evaluated.
        seconds_per_image: time the detector took, reading included.
        lost: what became of each object, where they were traced.
    """

    measured: Measured
    found: DetectionSet
    out: Path
    num_images: int
    seconds_per_image: float
    lost: LostObjects | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return self.measured.to_json() | ({} if self.lost is None else {"lost": self.lost.counts})


def evaluate(
    config: Config | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    weights: str | Path,
    out: str | Path | None = None,
    trace: bool = False,
    allow_custom: bool = False,
) -> Evaluation | None:
    """Evaluate a trained detector on the validation images and write what it found.

    Args:
        config: names the images (`data.val`), the metric and the device; the detector is the file's own. A
            config, the content of a file as a mapping, or the path or the short name of a file.
        overrides: changes by key, {"evaluate.metric": "coco"}, or as texts, ["evaluate.metric=coco"].
        weights: a model.safetensors, or the folder of a run that holds one.
        out: folder for the results, which must be new or empty, or hold what the same evaluation left when it
            was stopped; None takes a new one beside the weights.
        trace: follow each object that was missed through the detector, and say which step lost it, in the
            report and in trace.json.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said. Parts
            that the config's own detector has, too, run anyway.

    Returns:
        The result; None in all processes but the first.

    Raises:
        UserError: the weights or the images cannot be read, or the model does not know all classes of the
            images. Detections of classes that only the model knows are left out.
    """
    config, weights = as_config(config, overrides), model_path(weights)
    with session(config, trains=False) as run, ExitStack() as held:
        loaded = load_detector(weights, run.device, allow_custom=allow_custom, own=config.detector)
        require_known_classes(loaded.classes, config.data.classes, weights)
        if trace:
            require_traces(loaded.model)  # before the images are looked at
        used = config.model_copy(update={"detector": loaded.config.detector})
        work = key_of("eval", str(weights.absolute()), dump_config(used))
        opened = results_folder(out, "eval", work, weights.parent)
        folder = from_main(lambda: held.enter_context(opened))
        source = open_validation_set(config.data)
        require_known_classes(loaded.classes, source.annotations.classes, weights)
        if config.evaluate.compile:
            compile_maps(loaded.model)
        proposals = loaded.config.detector.external_proposals
        if proposals is not None:
            # Files of proposals belong to the images, and the images are the config's.
            source = attach_proposals(config.detector.external_proposals or proposals, source, "val")
        spec = config.evaluate.augment
        augmentation = None if spec is None else augmentation_of(config.data, spec, loaded.config.detector)
        found, timing = detect_with(config, run, loaded.model, source, augmentation)
        if found is None:
            return None
        found = relabelled(found, loaded.classes, source.annotations.classes)
        measured = measure(source.annotations, found, config.evaluate.metric, config.evaluate.oks_sigmas)
        if measured.miss_rate is not None and isinstance(loaded.model, ClassifiesWindows):
            images = DetectionDataset.of(source, eval_transforms(config.data), seed=0)
            curves = window_curves(loaded.model, images, len(measured.classes))
            measured = replace(measured, windows=curves)
        seconds = timing.seconds / max(timing.num_images, 1)
        write_atomically(folder / CONFIG, dump_config(used))
        note_environment(folder)
        lost = _lost(run, loaded, source, found, measured, config) if trace else None
        filters = filter_pictures(loaded.model, loaded.classes)
        evaluated = evaluated_run(folder, used, source, found, measured, seconds, filters)
        write_results(folder, replace(evaluated, lost=lost))
        if lost is not None:
            write_atomically(folder / TRACE, json.dumps(_traced(lost, source.annotations), indent=1))
        return Evaluation(measured, found, folder, source.annotations.num_images, seconds, lost)


def _lost(
    run: Session,
    loaded: LoadedDetector,
    source: Source,
    found: DetectionSet,
    measured: Measured,
    config: Config,
) -> LostObjects:
    """Return what became of each object, from each class's score of best F1 on."""
    truth, records = source.annotations, measured.records
    point = operating_point(truth, found, records, advise_thresholds(truth, found, records).max_f1)
    return trace_objects(loaded.model, run, source, eval_transforms(config.data), point, loaded.classes)


def _traced(lost: LostObjects, truth: AnnotationSet) -> list[dict[str, Any]]:
    """Return what became of each object that counts, as plain values."""
    images = truth.image_index()
    return [
        {
            "file": str(truth.image_files[images[row]]),
            "id": int(truth.ids[row]),
            "label": truth.classes[truth.labels[row]],
            "outcome": str(lost.outcomes[row]),
        }
        for row in np.flatnonzero(lost.outcomes != "").tolist()
    ]
