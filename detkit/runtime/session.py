"""Session: the device, its arithmetic, threads and loader processes of this process."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from detkit.runtime.threads import Threads


@dataclass(frozen=True)
class Session:
    """What a run found on this machine.

    Attributes:
        device: where the model is.
        precision: what autocast computes in; None is float32.
        workers: processes that load images.
        threads: how many the CPU computes with.
    """

    device: torch.device
    precision: torch.dtype | None = None
    workers: int = 0
    threads: Threads = field(default_factory=Threads)

    @property
    def precision_name(self) -> str:
        """The arithmetic for people, such as fp32 or bfloat16."""
        return "fp32" if self.precision is None else str(self.precision).removeprefix("torch.")

    @property
    def pin_memory(self) -> bool:
        """Whether pixels go into page-locked memory, from which a GPU copies them while it computes."""
        return self.device.type == "cuda"

    def autocast(self) -> torch.autocast:
        """Return a `with` inside which operations compute in the session's precision."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None)
