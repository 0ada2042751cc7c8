"""Training by gradient: one loop over the data that trains all weights together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import cast

from torch import nn

from detkit.data.datasets.index import Index
from detkit.detectors.task import Progress, Task
from detkit.errors import UserError
from detkit.evaluation.measure import measure
from detkit.models.compilation import compile_maps
from detkit.names import counted
from detkit.runtime.memory import is_out_of_memory, peak_bytes, shown_bytes
from detkit.runtime.processes import from_main, rank, world_size
from detkit.runtime.progress import say
from detkit.training.distributed import divide_fc
from detkit.training.loop.builder import build_optimizer, build_schedule
from detkit.training.loop.checkpoint import steps_done
from detkit.training.loop.config import GradientConfig
from detkit.training.loop.fit import fit
from detkit.training.loop.log import TrainingLog
from detkit.training.loop.milestones import Validation
from detkit.training.loop.timeline import Timeline


def train_by_gradient(
    task: Task, model: nn.Module | None = None, train: GradientConfig | None = None
) -> Progress:
    """Train all weights together; the best ones are left in the task's folder, the last in `model`.

    Args:
        task: the data, the folder and where it runs.
        model: what is trained, on the session's device; None takes the task's.
        train: length, optimizer and all else about the training; None takes the task's.

    Raises:
        UserError: weights or an image cannot be read, a checkpoint does not fit, or memory runs out.
        NonFiniteLossError: the training diverged.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    train = cast(GradientConfig, task.train) if train is None else train
    model = task.initial_model(replaced=task.resume) if model is None else model
    session, index = task.session, Index.of(task.train_set.annotations)
    loader = task.train_loader(train.batch_size)
    timeline = Timeline([loader.num_steps(epoch) for epoch in range(train.epochs)])
    if train.divide_fc:
        divide_fc(model, session.device)
    if train.compile:
        compile_maps(model)
    optimizer, rate_sentence = build_optimizer(
        train.optimizer, model, batch_size=train.batch_size, reference_batch=train.reference_batch
    )
    done = steps_done(task.folder) if task.resume else 0
    if rank() == 0:
        _announce(train, timeline, rate_sentence, done)
    log = (
        TrainingLog(task.folder, timeline.total, done, tensorboard=train.tensorboard) if rank() == 0 else None
    )
    with log or nullcontext(), _explained_memory(task, train):
        state = fit(
            model,
            loader.epoch,
            optimizer,
            build_schedule(train, timeline),
            timeline=timeline,
            seed=task.seed,
            session=session,
            accumulate=train.accumulate,
            clip_norm=train.clip_norm,
            ema_decay=train.ema.decay if train.ema else None,
            validation=_validation(task, train),
            save_model=task.save,
            on_step=log,
            image_name=index.path,
            folder=task.folder,
            save_every_steps=train.save_every_steps,
            resumes=task.resume,
            config_text=task.config_text,
        )
    return Progress(state.step, log.mean_rate if log is not None else 0.0)


def _announce(train: GradientConfig, timeline: Timeline, rate: str, done: int) -> None:
    say(f"{counted(train.epochs, 'epoch')}, {counted(timeline.total, 'step')}; {rate}")
    if done:
        say(f"goes on after step {done:,}")


@contextmanager
def _explained_memory(task: Task, train: GradientConfig) -> Iterator[None]:
    """Say what to lower, and by how much, where memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        device = task.session.device
        at_once = -(-train.batch_size // train.accumulate // world_size())
        resize, peak = task.data.resize, shown_bytes(peak_bytes(device))
        size = f", short side {resize.short_px} px," if resize else ""
        if at_once > 1:
            advice = (
                f"train.accumulate={2 * train.accumulate} processes {-(-at_once // 2)} at a time, which "
                "takes about half as much and trains alike"
            )
        else:
            smaller = f"={resize.short_px * 7 // 10}" if resize else ", lower than now,"
            advice = (
                f"data.resize.short_px{smaller} makes the images half as large, and train.precision=bf16 "
                "halves the maps"
            )
        raise UserError(
            f"out of memory on {device}: {counted(at_once, 'image')} at a time{size} took {peak} and more "
            f"was wanted. {advice}. `detkit plan CONFIG` says beforehand what fits"
        ) from error


def _validation(task: Task, train: GradientConfig) -> Validation | None:
    source = task.val_set
    if source is None:
        return None

    def evaluate(model: nn.Module) -> tuple[float, Mapping[str, float]]:
        detections, _ = task.detect(model, source)

        def metrics() -> tuple[float, Mapping[str, float]]:
            assert detections is not None
            measured = measure(source.annotations, detections, task.evaluate.metric, task.evaluate.oks_sigmas)
            return measured.quality[0], measured.numbers()

        return from_main(metrics)

    return Validation(evaluate, train.validate_every, train.early_stop)
