"""Watch on the losses, and the explanation of a step at which one is no longer a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detkit.data.regions.batch import Batch
from detkit.errors import NonFiniteLossError
from detkit.runtime.processes import mean_over_processes, rank
from detkit.storage.atomic import durable_file
from detkit.structures import Target, TrainBatch


@dataclass(frozen=True)
class _Seen:
    step: int
    batch: Batch
    names: tuple[str, ...]
    values: Tensor  # (2, number of names): of this process, and the mean over all
    copied: torch.cuda.Event | None


class LossWatch:
    """Reads the losses of every step and stops the training when one is not finite.

    On a GPU the values travel while the next step is under way and are read one step later, so that
    neither side waits for the other. Elsewhere they are read at once.

    Args:
        folder: where the offending batch goes; None keeps nothing.
        image_name: gives an image's name for its index in the dataset.
    """

    def __init__(self, folder: Path | None, image_name: Callable[[int], str]) -> None:
        self._folder = folder
        self._image_name = image_name
        self._pending: _Seen | None = None

    def __call__(self, step: int, batch: Batch, terms: dict[str, Tensor]) -> dict[str, float]:
        """Take in the terms of a step and return the latest values known; none at the first step on a GPU.

        Raises:
            NonFiniteLossError: a term that became known is not finite.
        """
        local = torch.stack([term.detach().float() for term in terms.values()])
        values = torch.stack([local, mean_over_processes(local)])
        copied = None
        if values.is_cuda:
            values = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
            copied = torch.cuda.current_stream(local.device).record_event()
        seen = _Seen(step, batch, tuple(terms), values, copied)
        if copied is None:
            return self._read(seen)
        earlier, self._pending = self._pending, seen
        return self._read(earlier) if earlier else {}

    def settle(self) -> None:
        """Read what is still under way, before weights that depend on it are kept.

        Raises:
            NonFiniteLossError: a term is not finite.
        """
        if self._pending:
            self._read(self._pending)

    def _read(self, seen: _Seen) -> dict[str, float]:
        if seen.copied:
            seen.copied.synchronize()
        local, mean = (dict(zip(seen.names, row, strict=True)) for row in seen.values.tolist())
        if not all(map(math.isfinite, [*local.values(), *mean.values()])):
            raise NonFiniteLossError(*self._explanation(seen, local))
        return mean

    def _explanation(self, seen: _Seen, local: dict[str, float]) -> list[str]:
        bad = [f"{name} is {value}" for name, value in local.items() if not math.isfinite(value)]
        if not bad:
            return [f"step {seen.step}: a loss is not finite in another process, which names the images"]
        lines = [
            f"step {seen.step}: {', '.join(bad)}",
            f"images: {', '.join(map(self._image_name, dict.fromkeys(seen.batch.numbers)))}",
        ]
        if self._folder:
            file = self._folder / ("nonfinite.pt" if rank() == 0 else f"nonfinite_{rank()}.pt")
            content = {
                "step": seen.step,  # counted from 0
                "seed": seen.batch.seed,  # repeats the sampling
                "losses": local,
                "images": list(seen.batch.numbers),
                **seen.batch.content(),
            }
            with durable_file(file) as part, part.open("wb") as stream:
                torch.save(content, stream)
            lines.append(f"the batch is in {file} (torch.load)")
        targets = seen.batch.targets if isinstance(seen.batch, TrainBatch) else ()
        causes = [cause for target in targets for cause in self._causes(target)]
        return [*lines, *(causes or _LIKELY)]

    def _causes(self, target: Target) -> list[str]:
        boxes, name = target.boxes.cpu(), self._image_name(target.image)
        broken = ~boxes.isfinite().all(1) | (boxes[:, 2:] <= boxes[:, :2]).any(1)
        return [f"cause: {name} has a box without area: {box}" for box in boxes[broken].tolist()]


_LIKELY = (
    "likely: the learning rate is too high for this batch size: lower train.optimizer.lr to a third, "
    "or lengthen train.warmup.steps",
    "otherwise: limit the gradient (train.clip_norm=10), or compute in fp32 (train.precision=fp32)",
)
