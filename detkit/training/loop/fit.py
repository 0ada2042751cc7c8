"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.experimental import implicit_replication
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from detkit.data.regions.batch import Batch, amount_of
from detkit.ops.sampling import mix_seed
from detkit.runtime.processes import rank, world_size
from detkit.runtime.session import Session
from detkit.storage.run_folder import CHECKPOINT
from detkit.training.distributed import hold_gradients, replicate
from detkit.training.loop.checkpoint import TrainingState, resume
from detkit.training.loop.ema import EMA
from detkit.training.loop.failure import LossWatch
from detkit.training.loop.interrupt import Interrupt
from detkit.training.loop.milestones import Keeper, Report, Validation, Validator
from detkit.training.loop.optim import Schedule, begin_at_rest, set_rates
from detkit.training.loop.timeline import Timeline


def _ignore(_: object) -> None:
    """Hear something and do nothing."""


Batches = Callable[[int, int], Iterable[Batch]] | Sequence[Batch]


# Parameters divided among processes and whole ones are read, updated, averaged and measured together.
@implicit_replication()
def fit(
    model: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    *,
    timeline: Timeline | None = None,
    seed: int = 0,
    session: Session | None = None,
    accumulate: int = 1,
    clip_norm: float = 0.0,
    ema_decay: float | None = None,
    validation: Validation | None = None,
    save_model: Callable[[nn.Module], None] = _ignore,
    on_step: Callable[[Report], None] | None = None,
    image_name: Callable[[int], str] = "image {}".format,
    folder: str | Path | None = None,
    save_every_steps: int = 0,
    resumes: bool = False,
    config_text: str = "",
) -> TrainingState:
    """Train a model and return the state it ended in.

    A step depends on nothing but the weights before it, the seed and its number: a training that is
    stopped and resumed anywhere, in the middle of an epoch too, ends in the same weights, bit for bit
    with one number of threads, which decides how sums are rounded.

    Args:
        model: has `forward(batch) -> losses by name`, each a mean over the images of the batch.
        batches: those of one epoch; or a function that, given an epoch and one of its steps, returns the
            batches from that step on. A batch is one optimizer step of this process.
        optimizer: a group's own learning rate is its `base_lr`, where it has one, otherwise its `lr`.
        schedule: factor of that rate at each step; None keeps it.
        timeline: how many epochs there are, and the batches of each; None is one epoch of `batches`.
        seed: seeds sampling and dropout, together with the step.
        session: where it runs, the model included, and in which precision; None is the model's device in
            float32.
        accumulate: in how many parts a batch is processed.
        clip_norm: upper limit of the gradient's norm; 0 is none.
        ema_decay: decay of the running mean that is evaluated and saved instead of the last weights.
        validation: how to evaluate; None takes the latest weights for the best.
        save_model: called with the model whenever its weights are the best so far, in process 0.
        on_step: called after every step and validation, in process 0.
        image_name: name of an image for its index in the dataset, for messages.
        folder: where last.pt and the batch of a failure go; None writes neither.
        save_every_steps: write last.pt also this often; 0 only after each epoch.
        resumes: go on from last.pt in `folder`.
        config_text: kept in last.pt.

    Raises:
        NonFiniteLossError: a loss or the gradient is not finite.
        KeyboardInterrupt: after Ctrl-C, once the step is finished and last.pt is written.
        UserError: last.pt does not fit, or cannot be written.
    """
    loader, timeline = _epochs(batches, timeline)
    folder = None if folder is None else Path(folder)
    session = session or Session(next(model.parameters()).device)
    on_step = on_step or _ignore
    threads = session.threads.anew("training")
    state = _begin(model, optimizer, timeline, session, ema_decay)
    if resumes and folder:
        resume(state, folder / CHECKPOINT)  # a validation that is repeated reports the rate before it
        set_rates(optimizer, schedule(state.step - 1) if schedule else 1.0)
    network = replicate(model, session.device)
    watch = LossWatch(folder, image_name)
    keeper = Keeper(state, folder, config_text, watch)

    with Interrupt() as interrupt:
        validator = Validator(state, validation, save_model, on_step, keeper, interrupt)
        validator.run_if_due()
        while state.step < timeline.total and not validator.stops:
            model.train()
            for batch in threads.over(loader(*timeline.place(state.step)), amount_of):
                lr = set_rates(optimizer, schedule(state.step) if schedule else 1.0)
                torch.manual_seed(mix_seed(seed, state.step, rank()))
                batch = replace(batch.to(session.device), seed=mix_seed(seed, state.step))  # noqa: PLW2901
                optimizer.zero_grad(set_to_none=True)
                terms = backward(network, batch, state.scaler, session.precision, accumulate)
                terms |= limit_gradient(optimizer, state.scaler, clip_norm)
                values = watch(state.step, batch, terms)
                state.advance()
                if rank() == 0:
                    num_images = len(batch) * world_size()
                    on_step(Report(state.step, state.epoch, "train", lr, values, num_images, batch.unit))
                keeper.leave_if(interrupt.requested)
                if save_every_steps and state.step % save_every_steps == 0:
                    keeper.write()
            assert state.epoch.is_integer(), "the loader ended before its epoch"
            keeper.write()
            validator.run_if_due()
    return state


def _begin(
    model: nn.Module, optimizer: Optimizer, timeline: Timeline, session: Session, ema_decay: float | None
) -> TrainingState:
    """Return the state before the first step."""
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
    scaler = GradScaler(session.device.type, enabled=session.precision is torch.float16)
    if scaler.is_enabled():
        begin_at_rest(optimizer)
    ema = None if ema_decay is None else EMA(model, ema_decay)
    return TrainingState(model, optimizer, scaler, ema, timeline)


def _epochs(
    batches: Batches, timeline: Timeline | None
) -> tuple[Callable[[int, int], Iterable[Batch]], Timeline]:
    if callable(batches):
        assert timeline is not None, "a function that returns batches needs a timeline"
        return batches, timeline
    return lambda epoch, start: batches[start:], timeline or Timeline([len(batches)])


def backward(
    network: nn.Module, batch: Batch, scaler: GradScaler, precision: torch.dtype | None, parts: int
) -> dict[str, Tensor]:
    """Add the gradient of a batch's loss, processed in parts, and return the loss terms.

    Losses are means over images, so the parts count by their number of images and their sum has the
    gradient of the undivided batch.
    """
    terms: dict[str, Tensor] = {}
    divided = split_batch(batch, parts)
    for part in divided:
        share = len(part) / len(batch)
        with hold_gradients(network, part is not divided[-1]):
            with torch.autocast(batch.device.type, dtype=precision, enabled=precision is not None):
                losses = {name: loss * share for name, loss in network(part).items()}
            torch.autograd.backward(scaler.scale(torch.stack(list(losses.values())).sum()))
        for name, loss in losses.items():
            terms[name] = terms.get(name, torch.zeros_like(loss)) + loss.detach()
    return terms


def limit_gradient(optimizer: Optimizer, scaler: GradScaler, clip_norm: float) -> dict[str, Tensor]:
    """Scale the gradient down to a norm of at most `clip_norm` and return its norm as `grad_norm`.

    With fp16 the norm is left out: there an infinite gradient is ordinary, and the scaler skips the step.

    Args:
        optimizer: of the parameters that have gradients.
        scaler: for fp16; switched off otherwise.
        clip_norm: upper limit; 0 is none.
    """
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if clip_norm:
        clip_grads_with_norm_(parameters, clip_norm, norm)
    return {} if scaler.is_enabled() else {"grad_norm": norm}


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Divide a batch into at most `parts` parts.

    Example:
        >>> from detkit.structures import ImageBatch, Target, TrainBatch
        >>> images = ImageBatch(torch.zeros(3, 3, 8, 8), ((8, 8),) * 3, ((8, 8),) * 3)
        >>> target = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
        >>> [len(part) for part in split_batch(TrainBatch(images, (target,) * 3), 2)]
        [2, 1]
    """
    size = -(-len(batch) // parts)
    return [batch.part(at, at + size) for at in range(0, len(batch), size)]
