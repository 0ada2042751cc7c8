"""`detkit train`: learn a detector from a config."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set, open_validation_set
from detkit.detectors.fast_rcnn.post_hoc_svms import learn_post_hoc_svms
from detkit.detectors.faster_rcnn.alternating_config import AlternatingConfig
from detkit.detectors.faster_rcnn.recipe import learn_alternately
from detkit.detectors.gradient_recipe import Learned, learn_by_gradient, new_model
from detkit.detectors.staged_recipe import learn_in_stages
from detkit.detectors.task import Task
from detkit.detectors.where_to_look import told_where_to_look
from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import Measured, measure
from detkit.inference.score_floor import advice_of
from detkit.runs.model import load_detector
from detkit.runs.resume import announce_changes, begins_again, goes_on
from detkit.runs.session import images_of, session
from detkit.runtime.processes import barrier, from_main, rank
from detkit.storage.atomic_files import write_atomically
from detkit.storage.run_folder import CONFIG, METRICS, MODEL, new_folder, say
from detkit.training.loop.config import GradientConfig
from detkit.training.staged.config import StagedConfig
from detkit.workflows.evaluate import judge, write_results


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
    config: Config,
    *,
    name: str = "train",
    out: Path | None = None,
    resume: bool = False,
    from_weights: Path | None = None,
) -> Training | None:
    """Learn a detector, keep the weights that do best on the validation images, and report on them.

    Where torchrun starts the processes again after one of them ended, the training goes on in `out` from its
    last.pt.

    Args:
        config: the detector, its data and its training.
        name: the run's folder is runs/NAME unless `out` is given.
        out: the run's folder; it must be new or empty, or hold the training to resume.
        resume: go on from last.pt in `out`.
        from_weights: a model.safetensors to start from; classes it shares by name are kept.

    Returns:
        The result; None in all processes but the first.

    Raises:
        UserError: something in the config, the data or the folder is wrong.
        NonFiniteLossError: the training diverged.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    if resume and out is None:
        raise UserError("--resume needs --out, the folder of the run to go on with")
    resume = resume or goes_on(out)
    with _pointing_to_check():
        learned, changed = open_training_set(config.data)
        judged_by = open_validation_set(config.data) if config.data.val is not None else None
    with session(config, trains=True) as run:
        if rank() == 0:
            say(f"learning from {images_of(learned.annotations)}", *_changes(changed))
            say(f"on {run.device}, {'fp32' if run.precision is None else str(run.precision)[6:]}")
        learned = told_where_to_look(config.detector, learned, "train")
        if judged_by is not None:
            judged_by = told_where_to_look(config.detector, judged_by, "val")
        task = Task(run, learned, judged_by, from_main(lambda: _folder(config, name, out, resume)), resume)
        start = time.perf_counter()
        progress = _learn(task, from_weights)
        seconds = time.perf_counter() - start
        measured = _report(task)
    if rank() != 0:
        return None
    return Training(task.folder, measured, seconds, progress.steps, progress.images_per_second)


@contextmanager
def _pointing_to_check() -> Iterator[None]:
    """Say with the first mistake in the data what lists all of them."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{error}\ndetkit check, with the same config, lists everything that is wrong with its data"
        ) from error


def _changes(changed: Mapping[str, int]) -> list[str]:
    return [f"invalid_boxes: {count} {what}" for what, count in changed.items() if count]


def _folder(config: Config, name: str, out: Path | None, resume: bool) -> Path:
    text = dump_config(config)
    if resume:
        assert out is not None
        announce_changes(out, text)
        folder = out
    elif out is not None and begins_again(out):
        folder = out
    else:
        folder = new_folder(out, name)
    write_atomically(folder / CONFIG, text)
    say(f"run folder: {folder}")
    return folder


def _learn(task: Task, from_weights: Path | None) -> Learned:
    """Leave the best weights in the run's folder."""
    match task.config.train:
        case GradientConfig() as how:
            model = new_model(task.config, from_weights, resumes=task.resume).to(task.run.device)
            progress = learn_by_gradient(task, how, model, continues=from_weights is not None)
            learn_post_hoc_svms(task)
            return progress
        case StagedConfig() as how:
            model = new_model(task.config, from_weights, resumes=False).to(task.run.device)
            return learn_in_stages(task, how, model)
        case AlternatingConfig() as how:
            if from_weights is not None:
                raise UserError(
                    "--from: alternating training begins with backbone.weights; train.type: gradient goes on "
                    "from a trained detector"
                )
            return learn_alternately(task, how)
        case _:
            assert_never(task.config.train)


def _report(task: Task) -> Measured | None:
    """Judge the best weights once more, from their file; write what they find, thresholds and the report."""
    run, judged_by, folder = task.run, task.judged_by, task.folder
    if judged_by is None:
        return None
    barrier()  # the first process may still be writing the weights
    loaded = load_detector(folder / MODEL, run.device)
    found, timing = run.detect(loaded.model, judged_by)
    if found is None:
        return None
    measured = measure(judged_by.annotations, found, run.config.evaluate.metric)
    if measured.accuracy is None:
        advice = advise_thresholds(judged_by.annotations, found, measured.records)
        task.save(loaded.model, advice_of(advice))
    seconds = timing.seconds / max(timing.num_images, 1)
    judged = judge(folder.name, run.config, judged_by, found, measured, seconds)
    write_results(folder, judged, folder / METRICS, task.learned.annotations)
    return measured
