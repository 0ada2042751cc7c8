"""A running mean of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class EMA:
    """Exponential moving average of a model's trainable parameters (Polyak 1992).

    In the first steps the mean follows faster, min(decay, (1 + n) / (10 + n)) after n of them,
    so that it is not held back by the weights training began with. Buffers (the statistics of
    batch normalisation) are means already; the model's own are used with the averaged weights.

    Attributes:
        decay: share of the mean that stays at each step.
        num_updates: steps seen so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._mean = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the mean."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(list(self._mean.values()), list(self._parameters.values()), 1 - decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Let the model hold the mean inside a `with`, and its own weights again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """Return the mean and the number of updates."""
        return {"num_updates": self.num_updates, "mean": self._mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of another EMA of the same model."""
        self.num_updates = state["num_updates"]
        for name, mean in self._mean.items():
            mean.copy_(state["mean"][name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            own: Tensor = parameter.detach().clone()
            parameter.copy_(self._mean[name])
            self._mean[name].copy_(own)
