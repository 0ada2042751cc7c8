"""Session: the device, its arithmetic, threads and loader processes of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from detkit.runtime.cores import num_workers
from detkit.runtime.device import choose_device, choose_precision, predicting_precision, set_deterministic
from detkit.runtime.processes import local_rank, process_group, rank, world_size
from detkit.runtime.threads import Threads, number_kept, numbers_of_threads


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


@contextmanager
def open_session(
    device: str,
    precision: str,
    workers: int | None,
    threads: int | None = None,
    *,
    trains: bool,
    deterministic: bool = False,
    compiles: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Session]:
    """Join the other processes if torchrun started several, and choose device and precision.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        workers: processes that load images; None takes the cores that are left over.
        threads: with how many a CPU computes; None measures what is fastest, now and then.
        deterministic: refuse operations whose result changes from run to run, and keep one number of threads.
        compiles: keep one number of threads, because each is a translation of its own.
        tell: hears, in process 0, which number of threads was chosen.
        trains: whether the precision must be the one asked for, or may be another that this device has.

    Raises:
        UserError: the device is not there, or does not compute in the precision asked for.
    """
    place = choose_device(device, local_rank())
    set_deterministic(deterministic)
    with process_group(place), number_kept():
        choose = choose_precision if trains else predicting_precision
        one = deterministic or compiles or world_size() > 1
        said = tell if rank() == 0 else lambda _: None
        chosen = Threads(numbers_of_threads(threads, place, one=one), said)
        if deterministic and place.type == "cpu":
            said(f"threads: {torch.get_num_threads()} throughout, since each number rounds in its own way")
        yield Session(place, choose(precision, place), num_workers(workers), chosen)
