"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from detkit.data.region_batch import Batch
from detkit.ops.sampling import mix_seed
from detkit.training.checkpoint import TrainingState, read_checkpoint, resume
from detkit.training.distributed import hold_gradients, mean_over_processes, rank, replicate, world_size
from detkit.training.divided_fc import divided_parameters
from detkit.training.ema import EMA
from detkit.training.failure import LossWatch
from detkit.training.interrupt import Interrupt
from detkit.training.milestones import LAST, Judge, Keeper, Report, Validation
from detkit.training.optim import Schedule, set_rates
from detkit.training.timeline import Timeline


def fit(
    model: nn.Module,
    loader: Callable[[int, int], Iterable[Batch]],
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    timeline: Timeline,
    seed: int,
    device: torch.device,
    precision: torch.dtype | None,
    accumulate: int,
    clip_norm: float,
    ema_decay: float | None,
    validation: Validation | None,
    save_model: Callable[[nn.Module], None],
    on_step: Callable[[Report], None],
    image_name: Callable[[int], str],
    folder: Path | None,
    save_every_steps: int,
    resumes: bool,
    config_text: str,
) -> TrainingState:
    """Train a model and return the state it ended in.

    A step depends on nothing but the weights before it, the seed and its number: a training that is
    stopped and resumed anywhere, in the middle of an epoch too, ends in the same weights, bit for bit
    with one number of threads, which decides how sums are rounded.

    Args:
        model: has `forward(batch) -> losses by name`, each a mean over the images of the batch. It is
            on `device`.
        loader: given an epoch and one of its steps, returns the batches from that step on; a batch is
            one optimizer step of this process.
        optimizer: its groups hold their own rate as `base_lr` (see `optim.parameter_groups`).
        schedule: share of that rate at each step.
        timeline: how many epochs there are, and the batches of each.
        seed: seeds sampling and dropout, together with the step.
        device: where the training runs.
        precision: what autocast computes in; None is float32.
        accumulate: in how many parts a batch is worked off.
        clip_norm: upper limit of the gradient's norm; 0 is none.
        ema_decay: decay of the running mean that is judged and saved instead of the last weights.
        validation: how to judge; None takes the latest weights for the best.
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
    scaler = GradScaler("cuda", enabled=precision is torch.float16)
    ema = None if ema_decay is None else EMA(model, ema_decay)
    state = TrainingState(model, optimizer, scaler, ema, timeline)
    if resumes and folder:
        resume(state, read_checkpoint(folder / LAST), folder / LAST)
    divided = divided_parameters(model)
    network = replicate(model, device, divided)
    shares = [parameter for name, parameter in model.named_parameters() if name in divided]
    watch = LossWatch(folder, image_name)
    keeper = Keeper(state, folder, config_text, watch)

    with Interrupt() as interrupt:
        judge = Judge(state, validation, save_model, on_step, keeper, interrupt)
        judge.run_if_due()
        while state.step < timeline.total and not judge.stops:
            model.train()
            for batch in loader(*timeline.place(state.step)):
                lr = set_rates(optimizer, schedule(state.step))
                torch.manual_seed(mix_seed(seed, state.step, rank()))
                batch = replace(batch.to(device), seed=mix_seed(seed, state.step))  # noqa: PLW2901
                optimizer.zero_grad(set_to_none=True)
                terms = backward(network, batch, scaler, precision, accumulate)
                terms |= limit_gradient(optimizer, scaler, clip_norm, shares)
                values = watch(state.step, batch, terms)
                scaler.step(optimizer)
                scaler.update()
                if ema:
                    ema.update()
                state.step += 1
                if rank() == 0:
                    num_images = len(batch) * world_size()
                    on_step(Report(state.step, state.epoch, "train", lr, values, num_images))
                keeper.leave_if(interrupt.requested)
                if save_every_steps and state.step % save_every_steps == 0:
                    keeper.write()
            assert state.epoch.is_integer(), "the loader ended before its epoch"
            keeper.write()
            judge.run_if_due()
    return state


def backward(
    network: nn.Module, batch: Batch, scaler: GradScaler, precision: torch.dtype | None, parts: int
) -> dict[str, Tensor]:
    """Add the gradient of a batch's loss, worked off in parts, and return the loss terms.

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


def limit_gradient(
    optimizer: Optimizer, scaler: GradScaler, clip_norm: float, shares: Sequence[nn.Parameter] = ()
) -> dict[str, Tensor]:
    """Scale the gradient down to a norm of at most `clip_norm` and return its norm as `grad_norm`.

    With fp16 the norm is left out: there an infinite gradient is ordinary, and the scaler skips the step.

    Args:
        optimizer: of the parameters that have gradients.
        scaler: for fp16; switched off otherwise.
        clip_norm: upper limit; 0 is none.
        shares: those of the parameters of which every process has another part.
    """
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    own = {id(parameter) for parameter in shares}
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None and id(p) not in own])
    if own:
        part = get_total_norm([p.grad for p in parameters if p.grad is not None and id(p) in own])
        norm = (norm.square() + world_size() * mean_over_processes(part.square())).sqrt()
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
