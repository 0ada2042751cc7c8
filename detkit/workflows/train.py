"""`detkit train`: learn a detector from a config."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from detkit.annotations.atomic_files import write_atomically
from detkit.build.data import open_training_set, open_validation_set
from detkit.build.detector import build_detector
from detkit.build.model import load_detector
from detkit.build.training import build_optimizer, build_schedule
from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.data.index import Index
from detkit.data.sets import Source
from detkit.errors import UserError
from detkit.evaluation.thresholds import advise_thresholds
from detkit.inference.model_file import read_model_file, save_model
from detkit.inference.score_floor import Advice, advice_of
from detkit.models.weights import LoadReport
from detkit.training.checkpoint import TrainingState
from detkit.training.distributed import from_main, rank
from detkit.training.fit import fit
from detkit.training.log import TrainingLog
from detkit.training.milestones import Validation
from detkit.training.timeline import Timeline
from detkit.workflows.evaluate import judge, write_results
from detkit.workflows.fine_tune import start_from
from detkit.workflows.measure import Measured, measure
from detkit.workflows.resume import announce_changes, steps_done
from detkit.workflows.run_folder import CONFIG, METRICS, MODEL, new_folder, say
from detkit.workflows.session import Session, images_of, session, training_loader


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
    learned, changed = open_training_set(config.data)
    judged_by = open_validation_set(config.data) if config.data.val is not None else None
    with session(config, trains=True) as run:
        if rank() == 0:
            say(f"learning from {images_of(learned.annotations)}", *_changes(changed))
            say(f"on {run.device}, {'fp32' if run.precision is None else str(run.precision)[6:]}")
        model = _new_model(config, from_weights, resumes=resume).to(run.device)
        folder = from_main(lambda: _folder(config, name, out, resume))
        start = time.perf_counter()
        state, rate = _learn(run, model, learned, judged_by, folder, resume)
        seconds = time.perf_counter() - start
        measured = _report(run, learned, judged_by, folder)
    return Training(folder, measured, seconds, state.step, rate) if rank() == 0 else None


def _changes(changed: Mapping[str, int]) -> list[str]:
    return [f"invalid_boxes: {count} {what}" for what, count in changed.items() if count]


def _new_model(config: Config, from_weights: Path | None, *, resumes: bool) -> nn.Module:
    """Return the detector with the weights it starts from."""
    fresh = from_weights is None and not resumes

    def on_weights(report: LoadReport) -> None:
        if rank() == 0:
            say(str(report))

    num_classes = len(config.data.classes)
    model = build_detector(config.detector, num_classes, config.seed, pretrained=fresh, on_weights=on_weights)
    if from_weights is not None and not resumes:
        lines = start_from(model, config.data.classes, read_model_file(from_weights))
        if rank() == 0:
            say(lines)
    return model


def _folder(config: Config, name: str, out: Path | None, resume: bool) -> Path:
    text = dump_config(config)
    if resume:
        assert out is not None
        announce_changes(out, text)
        folder = out
    else:
        folder = new_folder(out, name)
    write_atomically(folder / CONFIG, text)
    say(f"run folder: {folder}")
    return folder


def _learn(
    run: Session, model: nn.Module, learned: Source, judged_by: Source | None, folder: Path, resume: bool
) -> tuple[TrainingState, float]:
    """Run the training loop and return its last state and its rate in images per second."""
    config = run.config
    index = Index.of(learned.annotations)
    loader = training_loader(
        config, learned, index, workers=run.workers, pin_memory=run.device.type == "cuda"
    )
    timeline = Timeline([loader.num_steps(epoch) for epoch in range(config.train.epochs)])
    optimizer, rate_sentence = build_optimizer(config.train, model)
    if rank() == 0:
        say(f"{config.train.epochs} epochs, {timeline.total} steps; {rate_sentence}")
    done = steps_done(folder) if resume else 0
    log = (
        TrainingLog(folder, timeline.total, done, tensorboard=config.train.tensorboard)
        if rank() == 0
        else None
    )
    with log or nullcontext():
        state = fit(
            model,
            loader.epoch,
            optimizer,
            build_schedule(config.train, timeline),
            timeline=timeline,
            seed=config.seed,
            device=run.device,
            precision=run.precision,
            accumulate=config.train.accumulate,
            clip_norm=config.train.clip_norm,
            ema_decay=config.train.ema.decay if config.train.ema else None,
            validation=_validation(run, judged_by),
            save_model=lambda best: _save(folder / MODEL, best, config, learned),
            on_step=log if log is not None else lambda _: None,
            image_name=index.path,
            folder=folder,
            save_every_steps=config.train.save_every_steps,
            resumes=resume,
            config_text=dump_config(config),
        )
    return state, log.mean_rate if log is not None else 0.0


def _validation(run: Session, source: Source | None) -> Validation | None:
    if source is None:
        return None
    metric = run.config.evaluate.metric

    def judge_model(model: nn.Module) -> tuple[float, Mapping[str, float]]:
        found, _ = run.detect(model, source)

        def numbers() -> tuple[float, Mapping[str, float]]:
            assert found is not None
            measured = measure(source.annotations, found, metric)
            return measured.value, measured.numbers()

        return from_main(numbers)

    return Validation(judge_model, run.config.train.validate_every, run.config.train.early_stop)


def _save(
    path: Path, model: nn.Module, config: Config, learned: Source, thresholds: Advice | None = None
) -> None:
    save_model(
        path,
        model,
        classes=config.data.classes,
        category_ids=learned.annotations.category_ids.tolist(),
        config_yaml=dump_config(config),
        thresholds=thresholds,
    )


def _report(run: Session, learned: Source, judged_by: Source | None, folder: Path) -> Measured | None:
    """Judge the best weights once more, from their file; write what they find, thresholds and the report."""
    if judged_by is None:
        return None
    loaded = load_detector(folder / MODEL, run.device)
    found, timing = run.detect(loaded.model, judged_by)
    if found is None:
        return None
    measured = measure(judged_by.annotations, found, run.config.evaluate.metric)
    advice = advise_thresholds(judged_by.annotations, found, measured.records)
    _save(folder / MODEL, loaded.model, run.config, learned, advice_of(advice))
    seconds = timing.seconds / max(timing.num_images, 1)
    judged = judge(folder.name, run.config, judged_by, found, measured, seconds)
    write_results(folder, judged, folder / METRICS, learned.annotations)
    return measured
