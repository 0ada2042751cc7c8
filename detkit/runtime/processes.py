"""Processes that torchrun started, and what they tell one another; one process is the ordinary case."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not marked as exported
from torch.distributed.rendezvous import rendezvous

from detkit.errors import PeerStoppedError

T = TypeVar("T")

# What Gloo and NCCL say where a process that they wait for is gone.
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def rank() -> int:
    """Return this process's number; 0 writes the files and prints."""
    return dist.get_rank() if _started() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _started() else 1


def local_rank() -> int:
    """Return this process's number on its own machine, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarts() -> int:
    """Return how often torchrun has started the processes again after one of them ended (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end; without torchrun do nothing.

    Gradients on a GPU travel by NCCL, everything else by Gloo.

    Args:
        device: where this process's model is.

    Raises:
        PeerStoppedError: another process ended in the middle of the work.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)  # whose page-locked memory, and memory in use, are meant from here on
    if "WORLD_SIZE" not in os.environ or _started():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store, own, world = next(rendezvous("env://"))
    # After a restart torchrun's store still holds the addresses of the processes that ended.
    store = PrefixStore(f"start_{restarts()}", store)
    dist.init_process_group(backend, store=store, rank=own, world_size=world)
    number = rank()
    try:
        yield
    except RuntimeError as error:
        if any(sign in str(error) for sign in _PEER_GONE):
            raise PeerStoppedError(
                f"process {number} stopped because another one did, whose own message says why"
            ) from error
        raise
    finally:
        # NCCL would wait for what the others owe; without this call it ends with the process.
        if device.type != "cuda" or sys.exc_info()[0] is None:
            dist.destroy_process_group()


def any_process(condition: bool) -> bool:
    """Return whether the condition holds in at least one process; every process must ask."""
    return bool(most_of_processes(int(condition)))


def most_of_processes(count: int) -> int:
    """Return the largest of the numbers that the processes give; every process must give one."""
    if world_size() == 1:
        return count
    largest = torch.tensor([count])
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest.item())


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without waiting for it on a GPU."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world_size()


def barrier() -> None:
    """Wait until every process is here."""
    any_process(False)


def from_main(compute: Callable[[], T]) -> T:
    """Compute a value in process 0 alone and return it in every process.

    An exception there is raised in every process, so that none waits for ever.
    """
    if world_size() == 1:
        return compute()
    answer: list[tuple[T | None, Exception | None]] = [(None, None)]
    if rank() == 0:
        try:
            answer = [(compute(), None)]
        except Exception as error:
            answer = [(None, error)]
    dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
    value, problem = answer[0]
    if problem is not None:
        raise problem
    return value  # type: ignore[return-value]


def gather(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]] | None:
    """Return the arrays of all processes joined along their first axis, in process 0; None elsewhere."""
    if world_size() == 1:
        return dict(arrays)
    parts: list[Mapping[str, NDArray[np.generic]]] | None = (
        [{} for _ in range(world_size())] if rank() == 0 else None
    )
    dist.gather_object(arrays, parts, dst=0)
    if parts is None:
        return None
    return {name: np.concatenate([part[name] for part in parts]) for name in arrays}


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
