"""`detkit train`: train a detector from a config."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detkit.annotations.image_files import image_paths
from detkit.config.dump import dump_config
from detkit.config.load import as_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set, open_validation_set, warn_of_untrained
from detkit.data.datasets.image_screen import ImageScreen
from detkit.data.datasets.source import Source
from detkit.data.datasets.split_leaks import known_leaks, leak_warning
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.detectors.families import family_of
from detkit.detectors.task import Task
from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import Measured, measure
from detkit.inference.model_file import read_model_file
from detkit.inference.score_floor import advice_of
from detkit.names import counted
from detkit.report.filters import filter_pictures
from detkit.runs.predictor import load_detector
from detkit.runs.results import evaluated_run, write_results
from detkit.runs.resume import SKIPPED_IMAGES, skipped_before, training_folder
from detkit.runs.session import session, task_of
from detkit.runtime.processes import barrier, from_main, rank
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.json_text import json_bytes
from detkit.storage.run_folder import METRICS, MODEL


@dataclass(frozen=True)
class Training:
    """The result of `train`.

    Attributes:
        out: the run's folder.
        measured: the best weights' numbers on the validation images; None where the config has none.
        train_seconds: time of the training in this process, validations included.
        steps: optimizer steps done in all.
        images_per_second: rate of the training itself.
    """

    out: Path
    measured: Measured | None
    train_seconds: float
    steps: int
    images_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        result = None if self.measured is None else self.measured.to_json()
        return {
            "out": str(self.out),
            "train_seconds": self.train_seconds,
            "images_per_second": self.images_per_second,
            "steps": self.steps,
            "evaluation": result,
        }


def train(
    config: Config | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    name: str = "train",
    out: str | Path | None = None,
    resume: bool = False,
    from_weights: str | Path | None = None,
    skip_bad: int = 0,
    **settings: Any,
) -> Training | None:
    """Train a detector, keep the weights that do best on the validation images, and report on them.

    Where torchrun starts the processes again after one of them ended, the training goes on in `out` from its
    last.pt.

    Args:
        config: the detector, its data and its training: a config; the content of a file as a mapping; or the
            path or the short name of a file.
        overrides: changes by key, {"train.optimizer.lr": 0.01}, or as texts, ["train.optimizer.lr=0.01"].
        name: the run's folder is runs/NAME unless `out` is given.
        out: the run's folder; it must be new or empty, or hold the training to resume. One where the same
            training was stopped before its first checkpoint counts as empty.
        resume: go on with the training in `out`.
        from_weights: a model.safetensors, or the folder of a run that holds one, to start from; classes it
            shares by name are kept.
        skip_bad: go on without up to so many images that cannot be read; they are listed in the run folder.
        settings: changes to keys of `train`, or of the config itself: epochs=3, seed=1.

    Returns:
        The result; None in all processes but the first.

    Raises:
        UserError: something in the config, the data or the folder is wrong.
        NonFiniteLossError: the training diverged.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    config, out = as_config(config, overrides, settings), None if out is None else Path(out)
    if resume and out is None:
        raise UserError("--resume needs --out, the folder of the run to go on with")
    recipe = family_of(config.detector).recipes[config.train.type]
    weights = None if from_weights is None else read_model_file(from_weights).path
    with session(config, trains=True) as run, ExitStack() as held:
        screen = ImageScreen(skip_bad, skipped_before(out), decide=from_main)
        opened = training_folder(out, name, dump_config(config), resume=resume)
        folder, resumed = from_main(lambda: held.enter_context(opened))
        train_set, val_set, changed = _opened(config, screen)
        if rank() == 0:
            changes = [f"invalid_boxes: {count} {what}" for what, count in changed.items() if count]
            if screen.skipped:
                changes.append(
                    f"{len(screen.skipped)} images that cannot be read are left out: {SKIPPED_IMAGES}"
                )
            seen = train_set.annotations
            say(
                f"training on {counted(seen.num_images, 'image')}, {counted(seen.num_objects, 'object')}",
                *changes,
            )
            warn_of_untrained(seen)
            say(f"on {run.device}, {run.precision_name}", f"run folder: {folder}")
            _warn_of_leaks(train_set, val_set)
        proposals = config.detector.external_proposals
        train_set = attach_proposals(proposals, train_set, "train")
        if val_set is not None:
            val_set = attach_proposals(proposals, val_set, "val")
        task = task_of(config, run, train_set, val_set)
        if screen.skipped and rank() == 0:
            write_atomically(folder / SKIPPED_IMAGES, json_bytes(screen.skipped, indented=True))
        task = replace(task, folder=folder, resume=resumed, from_weights=weights)
        start = time.perf_counter()
        progress = recipe(task)
        seconds = time.perf_counter() - start
        measured = _report(config, task)
    if rank() != 0:
        return None
    return Training(task.folder, measured, seconds, progress.steps, progress.images_per_second)


def _warn_of_leaks(train_set: Source, val_set: Source | None) -> None:
    """Repeat what `init` or `check` found in both sets."""
    if val_set is None:
        return
    leaks = known_leaks(*(image_paths(source.annotations) for source in (train_set, val_set)))
    if warning := leak_warning(leaks):
        say(f"warning: {warning}")


def _opened(config: Config, screen: ImageScreen) -> tuple[Source, Source | None, dict[str, int]]:
    """Return the training images, the validation images, and what the box policy changed."""
    try:
        train_set, changed = open_training_set(config.data, screen)
        val_set = open_validation_set(config.data, screen) if config.data.val is not None else None
    except UserError as error:
        raise UserError(
            *error.lines, "detkit check, with the same config, lists everything that is wrong with its data"
        ) from error
    return train_set, val_set, changed


def _report(config: Config, task: Task) -> Measured | None:
    """Evaluate the best weights once more, from their file; write detections, thresholds and the report."""
    run, val_set, folder = task.session, task.val_set, task.folder
    if val_set is None:
        return None
    barrier()  # the first process may still be writing the weights
    loaded = load_detector(folder / MODEL, run.device, own=config.detector)
    detections, timing = task.detect(loaded.model, val_set)
    if detections is None:
        return None
    measured = measure(val_set.annotations, detections, config.evaluate.metric, config.evaluate.oks_sigmas)
    advice = None
    if measured.accuracy is None:
        advice = advice_of(advise_thresholds(val_set.annotations, detections, measured.records))
    task.save(loaded.model, advice, measured.known_value)
    seconds = timing.seconds / max(timing.num_images, 1)
    filters = filter_pictures(loaded.model, loaded.classes)
    evaluated = evaluated_run(folder, config, val_set, detections, measured, seconds, filters)
    write_results(folder, evaluated, folder / METRICS, task.train_set.annotations)
    return measured
