"""Log of a training: metrics.jsonl for machines, a progress line for people, TensorBoard if asked."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import torch

from detkit.errors import UserError
from detkit.runtime.progress import ProgressLine, say
from detkit.storage.atomic import write_atomically
from detkit.storage.run_folder import METRICS
from detkit.training.loop.milestones import Report

_STEPS_A_LINE = 20
_SECONDS_A_LINE = 30.0
_SHOWN = (
    "AP",
    "AP50",
    "AP75",
    "top1",
    "top5",
    "top1_loc",
    "top5_loc",
    "oks",
    "pcp",
)  # of a validation, besides the number that decides


class TrainingLog:
    """Hears every report of a training; used as a `with` and given to `fit` as `on_step`.

    A line of metrics.jsonl is the mean over up to 20 steps, or one validation. On a terminal a bar
    shows rate, losses, time left and memory, and vanishes at the end; otherwise a plain line comes
    every 30 seconds and after each epoch.

    Args:
        folder: the run's folder.
        total_steps: length of the training.
        start_step: steps done before; lines of a later step, from a training that was killed after its
            last checkpoint, are dropped. So is a validation after this very step once it is repeated.
        tensorboard: whether to write TensorBoard's event files into the folder, too.

    Raises:
        UserError: TensorBoard is asked for but not installed.
    """

    def __init__(self, folder: Path, total_steps: int, start_step: int = 0, *, tensorboard: bool) -> None:
        self._board = _tensorboard(folder, start_step) if tensorboard else None
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / METRICS
        self._total_steps, self._start_step = total_steps, start_step
        self._line = ProgressLine("training", total_steps, start_step, "steps", logs=False)
        self._stream = self._without(lambda step, split: step > start_step)
        self._all_images, self._all_seconds = 0, 0.0
        self._start_interval()
        self._said = time.monotonic()

    @property
    def mean_rate(self) -> float:
        """Images per second of the training so far, without the time of validations."""
        return self._all_images / self._all_seconds if self._all_seconds else 0.0

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *error: Any) -> None:
        self._line.__exit__(*error)
        self._stream.close()
        if self._board:
            self._board.close()

    def __call__(self, report: Report) -> None:
        """Take in one report."""
        if report.split == "val":
            if report.step == self._start_step:
                self._stream.close()
                self._stream = self._without(lambda step, split: (step, split) == (report.step, "val"))
            self._write(report, report.values, None)
            first = next(iter(report.values), None)
            shown = {n: value for n, value in report.values.items() if n == first or n in _SHOWN}
            self._say(f"epoch {report.epoch:.4g}: {_text(shown)}")
            self._start_interval()  # the time a validation took is not the training's
            return
        self._steps += 1
        self._images += report.num_images
        for name, value in report.values.items():
            self._sums[name].append(value)
        if self._steps == _STEPS_A_LINE or report.epoch.is_integer() or report.step == self._total_steps:
            self._close_interval(report)
        self._line(report.step)

    def _close_interval(self, report: Report) -> None:
        seconds = max(time.monotonic() - self._since, 1e-9)
        rate = self._images / seconds
        self._all_images += self._images
        self._all_seconds += seconds
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._write(report, means, rate)
        state = f"{rate:.3g} {report.unit}/s  {_text(means)}  {_memory()}"
        if self._line.is_visible:
            self._line(report.step, state=state)
        elif report.epoch.is_integer() or time.monotonic() - self._said > _SECONDS_A_LINE:
            self._say(f"epoch {report.epoch:.4g}, step {report.step}/{self._total_steps}: {state}")
        self._start_interval()

    def _write(self, report: Report, values: Mapping[str, float], rate: float | None) -> None:
        line = {
            "step": report.step,
            "epoch": report.epoch,
            "split": report.split,
            "lr": report.lr,
            **values,
            "images_per_second": rate,
        }
        self._stream.write(orjson.dumps(line) + b"\n")
        self._stream.flush()
        if self._board:
            for name, value in ({"lr": report.lr} | dict(values)).items():
                self._board.add_scalar(f"{report.split}/{name}", value, report.step)

    def _without(self, dropped: Callable[[float, str], bool]) -> BinaryIO:
        """Return the file, open at its end, without lines of some steps and splits, or cut off by a kill."""
        if self._file.is_file():
            lines = self._file.read_bytes().splitlines()
            kept = [line for line in lines if (place := _place(line)) and not dropped(*place)]
            if kept != lines:
                write_atomically(self._file, b"".join(line + b"\n" for line in kept))
        return self._file.open("ab")

    def _start_interval(self) -> None:
        self._steps = self._images = 0
        self._sums: defaultdict[str, list[float]] = defaultdict(list)
        self._since = time.monotonic()

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        say(text)


def _text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


def _memory() -> str:
    if torch.cuda.is_available() and torch.cuda.memory_reserved() > 0:
        return f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GB GPU"
    if sys.platform == "win32":
        return ""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GB"


def _place(line: bytes) -> tuple[float, str] | None:
    """Return step and split of a line; None for a part of one."""
    try:
        record = orjson.loads(line)
        return float(record["step"]), str(record["split"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _tensorboard(folder: Path, start_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "train.tensorboard: true needs TensorBoard, which is not installed: pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder), purge_step=start_step + 1)
