"""One loop over the data that learns all weights together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from detkit.build.detector import build_detector
from detkit.build.training import build_optimizer, build_schedule
from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.config.training import Gradient
from detkit.data.index import Index
from detkit.data.sets import Source
from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.models.compilation import compile_maps
from detkit.models.weights import LoadReport
from detkit.training.distributed import from_main, rank, world_size
from detkit.training.divided_fc import divide_fc
from detkit.training.fit import fit
from detkit.training.log import TrainingLog
from detkit.training.memory import is_out_of_memory, peak_bytes, shown_bytes
from detkit.training.milestones import Validation
from detkit.training.timeline import Timeline
from detkit.workflows.box_targets import measure_box_targets
from detkit.workflows.fine_tune import start_from
from detkit.workflows.measure import measure
from detkit.workflows.resume import steps_done
from detkit.workflows.run_folder import say
from detkit.workflows.session import Session, amount_of, training_loader
from detkit.workflows.task import Task


@dataclass(frozen=True)
class Learned:
    """How far a training came.

    Attributes:
        steps: optimizer steps done in all.
        images_per_second: rate of the training itself; 0 where none was done.
    """

    steps: int
    images_per_second: float


def new_model(config: Config, from_weights: Path | None, *, resumes: bool) -> nn.Module:
    """Return the detector with the weights it starts from, and say what became of them.

    Args:
        config: describes the detector.
        from_weights: a model.safetensors to start from.
        resumes: whether a checkpoint is going to replace all weights anyway.

    Raises:
        UserError: weights cannot be read or do not fit.
    """
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


def learn_by_gradient(task: Task, train: Gradient, model: nn.Module, *, continues: bool) -> Learned:
    """Run the training loop; the best weights are left in the task's folder, the last in `model`.

    Args:
        task: the data, the folder and where it runs.
        train: length, optimizer and all else about the learning.
        model: the detector, on the session's device.
        continues: whether its weights come from a trained detector.

    Raises:
        UserError: an image cannot be read, or a checkpoint does not fit.
        NonFiniteLossError: the training diverged.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    run, config, index = task.run, task.config, Index.of(task.learned.annotations)
    measure_box_targets(task, model, continues=continues)
    on_gpu = run.device.type == "cuda"
    loader = training_loader(
        config, task.learned, index, batch_size=train.batch_size, workers=run.workers, pin_memory=on_gpu
    )
    timeline = Timeline([loader.num_steps(epoch) for epoch in range(train.epochs)])
    _arrange(model, train, run)
    optimizer, rate_sentence = build_optimizer(train, model)
    if rank() == 0:
        say(f"{train.epochs} epochs, {timeline.total} steps; {rate_sentence}")
    done, threads = steps_done(task.folder) if task.resume else 0, run.threads.anew("training")
    log = (
        TrainingLog(task.folder, timeline.total, done, tensorboard=train.tensorboard) if rank() == 0 else None
    )
    with log or nullcontext(), explained_memory(task, train):
        state = fit(
            model,
            lambda *place: threads.over(loader.epoch(*place), amount_of),
            optimizer,
            build_schedule(train, timeline),
            timeline=timeline,
            seed=config.seed,
            device=run.device,
            precision=run.precision,
            accumulate=train.accumulate,
            clip_norm=train.clip_norm,
            ema_decay=train.ema.decay if train.ema else None,
            validation=_validation(run, train, task.judged_by),
            save_model=task.save,
            on_step=log if log is not None else lambda _: None,
            image_name=index.path,
            folder=task.folder,
            save_every_steps=train.save_every_steps,
            resumes=task.resume,
            config_text=dump_config(config),
        )
    return Learned(state.step, log.mean_rate if log is not None else 0.0)


def _arrange(model: nn.Module, train: Gradient, run: Session) -> None:
    if train.divide_fc:
        divide_fc(model, run.device)
    if train.compile:
        compile_maps(model)


@contextmanager
def explained_memory(task: Task, train: Gradient) -> Iterator[None]:
    """Say what to lower, and by how much, where memory runs out.

    Args:
        task: what was being learned.
        train: how.

    Raises:
        UserError: instead of the error of torch or Python.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        at_once = -(-train.batch_size // train.accumulate // world_size())
        resize, peak = task.config.data.resize, shown_bytes(peak_bytes(task.run.device))
        size = f", short side {resize.short_px} px," if resize else ""
        if at_once > 1:
            advice = (
                f"train.accumulate={2 * train.accumulate} works off {-(-at_once // 2)} at a time, which "
                "takes about half as much and learns alike"
            )
        else:
            smaller = f"={resize.short_px * 7 // 10}" if resize else ", lower than now,"
            advice = (
                f"data.resize.short_px{smaller} makes the images half as large, and train.precision=bf16 "
                "halves the maps"
            )
        raise UserError(
            f"out of memory on {task.run.device}: {at_once} image(s) at a time{size} took {peak} and more "
            f"was wanted. {advice}. `detkit plan CONFIG` says beforehand what fits"
        ) from error


def _validation(run: Session, train: Gradient, source: Source | None) -> Validation | None:
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

    return Validation(judge_model, train.validate_every, train.early_stop)
