"""Checkpoint: a training resumes from the very step where it stopped, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from detkit.errors import UserError, cut
from detkit.runtime.processes import rank
from detkit.storage.atomic import durable_file
from detkit.storage.run_folder import CHECKPOINT
from detkit.training.distributed import whole_tensors
from detkit.training.loop.ema import EMA
from detkit.training.loop.timeline import Timeline

_FORMAT = 1


@dataclass
class TrainingState:
    """Everything that changes while a model is trained.

    The order of the images, their augmentation, the sampling and dropout need no state: they are
    seeded by the seed and the step. The learning rate is a function of the step.

    Attributes:
        model: the model, with its last weights.
        optimizer: its update rule.
        scaler: loss scaling for fp16; switched off otherwise.
        ema: the running mean of the weights, if there is one.
        timeline: the steps of each epoch.
        step: optimizer steps done.
        best: the best result of a validation; None before the first.
        best_step: its step.
        stale: validations since then.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    ema: EMA | None
    timeline: Timeline
    step: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0

    @property
    def epoch(self) -> float:
        """Epochs done, as a fraction."""
        return self.timeline.epoch(self.step)

    def advance(self) -> None:
        """Take the optimizer step that the gradients tell."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema:
            self.ema.update()
        self.step += 1


_COUNTS = ("step", "best", "best_step", "stale")


def write_checkpoint(file: Path, state: TrainingState, config_text: str) -> None:
    """Write last.pt in process 0, beside its place and on the disk before it replaces the previous one.

    Every process has to call it, since each holds its part of what is divided.

    Args:
        file: where it goes.
        state: what to keep.
        config_text: the config, so that a later resume can name what changed.

    Raises:
        UserError: the disk is full; the previous file is unharmed.
    """
    content = {
        "format": _FORMAT,
        "config": config_text,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "ema": state.ema.state_dict() if state.ema else None,
        "epoch_steps": state.timeline.steps,
        "progress": {name: getattr(state, name) for name in _COUNTS},
    }
    whole = whole_tensors(content)
    if rank() == 0:
        with durable_file(file) as part, part.open("wb") as stream:
            torch.save(whole, stream)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read last.pt without running any code that it might hold.

    Returns:
        format, config (text), model, optimizer, scaler, ema, epoch_steps and progress; see `resume`.

    Raises:
        UserError: the file is missing, damaged, or was not written by a training.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such checkpoint; a training writes last.pt after each epoch")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Whatever a damaged file makes the reader stumble over. What torch says of it is not repeated: it
        # advises to read the file in the way that runs code.
        raise UserError(
            f"{file}: not a checkpoint that can be read: empty, cut short or damaged "
            f"({type(error).__name__}); begin anew in another folder, with --from the run's "
            "model.safetensors where there is one"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(f"{file}: not a training checkpoint of this version; give the last.pt of a run")
    _require_parts(content, file)
    return content


def _require_parts(content: dict[str, Any], file: Path) -> None:
    """Look for what `resume` needs: other things than a training writes do not say what they are for."""
    steps, progress, optimizer = content.get("epoch_steps"), content.get("progress"), content.get("optimizer")
    done = progress.get("step") if isinstance(progress, dict) else None
    if not (
        isinstance(steps, Sequence)
        and steps
        and all(isinstance(number, int) and number > 0 for number in steps)
        and isinstance(progress, dict)
        and progress.keys() >= set(_COUNTS)
        and isinstance(done, int)
        and 0 <= done <= sum(steps)
        and isinstance(optimizer, dict)
        and optimizer.keys() >= {"state", "param_groups"}
        and isinstance(content.get("model"), dict)
        and content.keys() >= {"scaler", "ema"}
    ):
        raise UserError(f"{file}: a training checkpoint that lacks a part, or has another thing in its place")


def resume(state: TrainingState, file: Path) -> None:
    """Continue from a checkpoint.

    What the config decides (rates, decay, length) comes from `state`; what was trained, from the file, of
    which a divided parameter takes its part (within `implicit_replication`).

    Args:
        state: a training at its start, which is changed.
        file: the checkpoint.

    Raises:
        UserError: it cannot be read, is of another model or optimizer, or an epoch had another length.
    """
    content = read_checkpoint(file)
    _check_length(state, content, file)
    own, saved = state.optimizer.state_dict()["param_groups"], content["optimizer"]
    try:
        state.model.load_state_dict(content["model"])
        if [len(group["params"]) for group in own] != [len(g["params"]) for g in saved["param_groups"]]:
            raise ValueError("the optimizer's groups differ")
        state.optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = cut(" ".join(str(error).split()), 500)
        raise UserError(f"{file}: is of another model or optimizer than the config says: {why}") from None
    for parameter, values in state.optimizer.state.items():
        if isinstance(parameter, DTensor):
            values.update(_divided_like(parameter, values))
    if state.scaler.is_enabled() and content["scaler"]:
        state.scaler.load_state_dict(content["scaler"])
    if state.ema and content["ema"]:
        state.ema.load_state_dict(content["ema"])
    for name in _COUNTS:
        setattr(state, name, content["progress"][name])


def _divided_like(parameter: DTensor, values: dict[str, Any]) -> dict[str, Any]:
    """Return those of an optimizer's tensors that have a divided parameter's shape, divided as it is."""
    mesh, placements = parameter.device_mesh, parameter.placements
    return {
        name: distribute_tensor(value, mesh, placements, src_data_rank=None)
        for name, value in values.items()
        if value.shape == parameter.shape
    }


def _check_length(state: TrainingState, content: dict[str, Any], file: Path) -> None:
    saved = Timeline(content["epoch_steps"])
    begun, done = saved.place(content["progress"]["step"])
    begun += done > 0
    for epoch, (before, now) in enumerate(zip(saved.steps[:begun], state.timeline.steps, strict=False)):
        if before != now:
            raise UserError(
                f"{file}: epoch {epoch + 1} had {before} steps and has {now} now, so the place in the data "
                "is lost; keep seed, training set, batch size and repeat_threshold, or begin anew with --from"
            )


def steps_done(folder: Path) -> int:
    """Return the optimizer steps that the checkpoint in a run folder has behind it.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    return int(read_checkpoint(folder / CHECKPOINT)["progress"]["step"])
