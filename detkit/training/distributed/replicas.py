"""Replicas of a model in several processes, whose gradients are averaged."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from detkit.runtime.processes import world_size


def replicate(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a model whose gradients are the mean over all processes; alone, the model itself.

    Parameters that are divided among the processes are left out.

    Args:
        model: the model, on `device`.
        device: where this process's model is.
    """
    if world_size() == 1:
        return model
    # What PyTorch's own tensor parallelism calls to leave parameters out.
    leave_out = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    divided = [name for name, parameter in model.named_parameters() if isinstance(parameter, DTensor)]
    leave_out(model, divided)  # type: ignore[no-untyped-call]
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def hold_gradients(model: nn.Module, hold: bool) -> AbstractContextManager[None]:
    """Return a `with` in which a replicated model keeps its gradients to itself, for accumulation."""
    return model.no_sync() if hold and isinstance(model, DistributedDataParallel) else nullcontext()
