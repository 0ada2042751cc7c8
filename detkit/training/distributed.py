"""Training by several processes: replicas of a model, and fully connected layers divided among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from detkit.capabilities import FcLayers, HasFcLayers
from detkit.errors import UserError
from detkit.models.roi.box_heads import FcHead
from detkit.runtime.processes import most_of_processes, world_size


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


class DividedFcHead(FcHead):
    """An `FcHead` of which each process holds a part of the hidden units.

    Regions are gathered from all processes, each computes its own units of fc6 for all of them and its part
    of fc7's sums, and every process gets back the vectors of its own regions: what travels are regions and
    vectors instead of the gradients of the largest layers, 90 % of the weights of AlexNet and VGG.

    Args:
        whole: the layers to divide, the same in each process; they are taken over.
        mesh: the processes.

    Raises:
        UserError: the units cannot be divided evenly, or the layers are compressed.

    Reference: Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014.
    """

    def __init__(self, whole: FcLayers, mesh: DeviceMesh) -> None:
        if whole.channels % mesh.size():
            raise UserError(
                f"train.divide_fc: {whole.channels} units cannot be divided among {mesh.size()} processes"
            )
        if not (isinstance(whole.fc6, nn.Linear) and isinstance(whole.fc7, nn.Linear)):
            raise UserError("train.divide_fc: divides whole layers, not those of fc6_rank and fc7_rank")
        with torch.device("meta"):
            super().__init__(whole.fc6.in_features, 1, channels=whole.channels, dropout=whole.dropout)
        self._features_in, self.fc6, self.fc7 = whole.fc6.in_features, whole.fc6, whole.fc7
        units, own_rows = ColwiseParallel(input_layouts=Shard(0)), RowwiseParallel(output_layouts=Shard(0))
        parallelize_module(self, mesh, {"fc6": units, "fc7": own_rows}, src_data_rank=None)
        for parameter in self.parameters():
            # Others average their gradients over processes; here the processes' sums have met already.
            parameter.register_hook(lambda gradient: gradient / mesh.size())  # type: ignore[no-untyped-call]

    def forward(self, regions: Tensor) -> Tensor:
        """Return (R, channels) vectors of (R, C, size, size) features; every process has to call it."""
        # Processes may have sampled different numbers of regions; layers are divided for equal ones.
        rows, most = regions.flatten(1), most_of_processes(len(regions))
        return super().forward(F.pad(rows, (0, 0, 0, most - len(rows))))[: len(rows)]

    def whole(self) -> FcHead:
        """Return the undivided head with the weights of now; every process has to call it."""
        with torch.device("meta"):
            head = FcHead(self._features_in, 1, channels=self.channels, dropout=self.dropout)
        head.load_state_dict(whole_tensors(self.state_dict()), assign=True)
        return head.train(self.training)


def divide_fc(model: nn.Module, device: torch.device) -> None:
    """Divide the fully connected layers of a detector's head among the processes; alone it stays whole.

    Args:
        model: a detector with fc6 and fc7, the same in each process.
        device: where it is.

    Raises:
        UserError: it has no such head.
    """
    owner: object = model
    if not (isinstance(owner, HasFcLayers) and owner.fc_layers):
        raise UserError("train.divide_fc: divides head: fc6_fc7 or two_fc, which this detector lacks")
    if world_size() > 1:
        mesh = init_device_mesh(device.type, (world_size(),))
        owner.replace_fc_layers([DividedFcHead(whole, mesh) for whole in owner.fc_layers])


@contextmanager
def undivided(model: nn.Module) -> Iterator[None]:
    """Let a model hold whole layers inside a `with`, to evaluate and save it; every process has to enter."""
    owner: object = model
    layers = list(owner.fc_layers) if isinstance(owner, HasFcLayers) else []
    divided = [own for own in layers if isinstance(own, DividedFcHead)]
    if not (isinstance(owner, HasFcLayers) and divided):
        yield
        return
    owner.replace_fc_layers([own.whole() for own in divided])
    try:
        yield
    finally:
        owner.replace_fc_layers(divided)


def whole_tensors(content: Any) -> Any:
    """Return nested mappings with their divided tensors put together; every process has to call it."""
    if isinstance(content, dict):
        return {key: whole_tensors(value) for key, value in content.items()}
    return content.full_tensor() if isinstance(content, DTensor) else content
