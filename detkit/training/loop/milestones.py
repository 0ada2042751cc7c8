"""Milestones between steps: evaluating the model, keeping the best weights, writing last.pt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from detkit.runtime.processes import any_process, rank
from detkit.storage.run_folder import CHECKPOINT
from detkit.training.distributed import undivided
from detkit.training.loop.checkpoint import TrainingState, write_checkpoint
from detkit.training.loop.failure import LossWatch
from detkit.training.loop.interrupt import Interrupt


@dataclass(frozen=True)
class Report:
    """What is known after a step or a validation.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done, as a fraction.
        split: `train` or `val`.
        lr: learning rate of weights.
        values: losses (on a GPU those of the step before, nothing after the first), or metrics.
        num_images: images of the step, or what else its batches are made of, over all processes; 0 for a
            validation.
        unit: what that is.
    """

    step: int
    epoch: float
    split: str
    lr: float
    values: Mapping[str, float]
    num_images: int
    unit: str = "images"


@dataclass(frozen=True)
class Validation:
    """How to evaluate a model during training.

    Attributes:
        evaluate: returns the result that decides which weights are best (higher is better), and all
            results by name. Every process calls it, and it must return the same in each.
        every: epochs between validations; 0 validates only at the end.
        early_stop: stop after this many validations without a better result; None never stops early.
    """

    evaluate: Callable[[nn.Module], tuple[float, Mapping[str, float]]]
    every: int
    early_stop: int | None


@dataclass(frozen=True)
class Keeper:
    """Writes last.pt.

    Attributes:
        state: what is kept.
        folder: where; None writes nothing.
        config_text: kept with it.
        watch: settled first, so that no spoilt weights replace good ones.
    """

    state: TrainingState
    folder: Path | None
    config_text: str
    watch: LossWatch

    def write(self) -> None:
        """Write last.pt, unless a loss turns out not to be finite."""
        self.watch.settle()
        if self.folder:
            write_checkpoint(self.folder / CHECKPOINT, self.state, self.config_text)

    def leave_if(self, requested: bool) -> None:
        """Write last.pt and raise KeyboardInterrupt if any process was asked to stop."""
        if any_process(requested):
            self.write()
            raise self.farewell()

    def farewell(self) -> KeyboardInterrupt:
        """Return the exception that says where the training stands and how it goes on."""
        place = f"stopped after step {self.state.step} (epoch {self.state.epoch:.2f})"
        if self.folder is None:
            return KeyboardInterrupt(place)
        return KeyboardInterrupt(
            f"{place}; the same command with --resume --out {self.folder} goes on from there"
        )


@dataclass(frozen=True)
class Validator:
    """Validates at the end of epochs and keeps the best weights.

    Attributes:
        state: the training.
        validation: how to evaluate; None takes the latest weights for the best.
        save_model: keeps the weights of the model it is called with.
        on_step: hears the results.
        keeper: knows how to say goodbye.
        interrupt: may break a validation off at once, since last.pt was written before it.
    """

    state: TrainingState
    validation: Validation | None
    save_model: Callable[[nn.Module], None]
    on_step: Callable[[Report], None]
    keeper: Keeper
    interrupt: Interrupt

    @property
    def stops(self) -> bool:
        """Whether too many validations brought nothing better."""
        limit = self.validation.early_stop if self.validation else None
        return limit is not None and self.state.stale >= limit

    def run_if_due(self) -> None:
        """Evaluate the model if an epoch has ended and it is the epoch's turn.

        last.pt is written before, so a training resumed at the end of an epoch comes here again.
        """
        state, every = self.state, self.validation.every if self.validation else 1
        epoch, inside = state.timeline.place(state.step)
        turn = (every > 0 and epoch % every == 0) or state.step >= state.timeline.total
        if state.step == 0 or inside or not turn:
            return
        with state.ema.swapped_in() if state.ema else nullcontext(), undivided(state.model):
            state.model.eval()
            self._compare(*self._results())
            state.model.train()

    def _results(self) -> tuple[float, Mapping[str, float]]:
        if self.validation is None:
            return float(self.state.step), {}
        try:
            with self.interrupt.immediate():
                return self.validation.evaluate(self.state.model)
        except KeyboardInterrupt:
            raise self.keeper.farewell() from None

    def _compare(self, result: float, values: Mapping[str, float]) -> None:
        state = self.state
        result = -math.inf if math.isnan(result) else result
        better = state.best is None or result > state.best
        if better:
            state.best, state.best_step, state.stale = result, state.step, 0
        else:
            state.stale += 1
        if rank() == 0:
            if better:
                self.save_model(state.model)
            if values:
                lr = float(state.optimizer.param_groups[0]["lr"])
                self.on_step(Report(state.step, state.epoch, "val", lr, values, 0))
