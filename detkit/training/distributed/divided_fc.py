"""Fully connected layers whose weights are divided among the processes, while convolutions stay whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn import functional as F

from detkit.capabilities import HasFcLayers
from detkit.errors import UserError
from detkit.models.roi.box_heads import FcHead
from detkit.runtime.processes import most_of_processes, world_size

_DIMENSIONS = {"fc6_weight": 0, "fc6_bias": 0, "fc7_weight": 1}


class DividedFcHead(nn.Module):
    """An `FcHead` of which each process holds a share of the hidden units.

    Regions are gathered from all processes, each computes its own units of fc6 for all of them and its part
    of fc7's sums, and every process gets back the vectors of its own regions: what travels are regions and
    vectors instead of the gradients of the largest layers, 90 % of the weights of AlexNet and VGG.

    Args:
        whole: the head to divide, the same in each process.
        mesh: the processes.

    Raises:
        UserError: the units cannot be divided evenly, or the layers are compressed.

    Reference: Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014.
    """

    def __init__(self, whole: FcHead, mesh: DeviceMesh) -> None:
        super().__init__()
        if whole.channels % mesh.size():
            raise UserError(
                f"train.divide_fc: {whole.channels} units cannot be divided among {mesh.size()} processes"
            )
        fc6, fc7 = whole.fc6, whole.fc7
        if not (isinstance(fc6, nn.Linear) and isinstance(fc7, nn.Linear)):
            raise UserError("train.divide_fc: divides whole layers, not those of fc6_rank and fc7_rank")
        self.channels, self.dropout, self._mesh = whole.channels, whole.dropout, mesh
        self.fc6_weight = self._share(fc6.weight, 0)
        self.fc6_bias = self._share(fc6.bias, 0)
        self.fc7_weight = self._share(fc7.weight, 1)
        self.fc7_bias = nn.Parameter(fc7.bias.detach().clone())

    def forward(self, regions: Tensor) -> Tensor:
        """Return (R, channels) vectors of (R, C, size, size) features; every process has to call it."""
        rows = regions.flatten(1)
        # Processes may have drawn different numbers of regions; equal shares are what tensors are made of.
        most = most_of_processes(len(rows))
        padded = F.pad(rows, (0, 0, 0, most - len(rows)))
        every = self._given(padded, Shard(0)).redistribute(placements=[Replicate()])
        hidden = F.linear(every, self._given(self.fc6_weight, Shard(0)), self._given(self.fc6_bias, Shard(0)))
        units = F.dropout(F.relu(_local(hidden)), self.dropout, self.training)
        sums = cast(DTensor, F.linear(self._given(units, Shard(1)), self._given(self.fc7_weight, Shard(1))))
        own = _local(sums.redistribute(placements=[Shard(0)]))[: len(rows)]
        return F.dropout(F.relu(own + self.fc7_bias), self.dropout, self.training)

    @torch.no_grad()
    def whole(self) -> FcHead:
        """Return the undivided head with the weights of now; every process has to call it."""
        values = whole_tensors(dict(self.named_parameters()), _DIMENSIONS)
        out_features, in_features = values["fc6_weight"].shape
        head = FcHead(in_features, 1, channels=out_features, dropout=self.dropout)
        for name, value in values.items():
            layer, kind = name.split("_")
            getattr(getattr(head, layer), kind).data = value
        return head.train(self.training)

    def _share(self, tensor: Tensor, dimension: int) -> nn.Parameter:
        share = distribute_tensor(tensor.detach(), self._mesh, [Shard(dimension)]).to_local().clone()
        parameter = nn.Parameter(share)
        # Others average their gradients over processes; here the processes' sums have met already.
        parameter.register_hook(lambda gradient: gradient / self._mesh.size())  # type: ignore[no-untyped-call]
        return parameter

    def _given(self, tensor: Tensor, placement: Shard) -> DTensor:
        return DTensor.from_local(tensor, self._mesh, [placement], run_check=False)


def divide_fc(model: nn.Module, device: torch.device) -> None:
    """Divide the fully connected layers of a detector's head among the processes; alone it stays whole.

    Args:
        model: a detector with fc6 and fc7, the same in each process.
        device: where it is.

    Raises:
        UserError: it has no such head.
    """
    owner: object = model
    head = owner.fc_layers if isinstance(owner, HasFcLayers) else None
    if not (isinstance(owner, HasFcLayers) and isinstance(head, FcHead)):
        raise UserError("train.divide_fc: divides head: fc6_fc7 or two_fc, which this detector lacks")
    if world_size() > 1:
        mesh = DeviceMesh(device.type, torch.arange(world_size()))
        owner.replace_fc_layers(DividedFcHead(head, mesh))


def divided_parameters(model: nn.Module) -> dict[str, int]:
    """Return the names of the parameters of which this process has a share, and the axis that is divided."""
    return {
        f"{prefix}.{name}": dimension
        for prefix, module in model.named_modules()
        if isinstance(module, DividedFcHead)
        for name, dimension in _DIMENSIONS.items()
    }


@contextmanager
def undivided(model: nn.Module) -> Iterator[None]:
    """Let a model hold whole heads inside a `with`, to be evaluated and saved; every process has to enter."""
    divided = [
        (parent, name, child)
        for parent in list(model.modules())
        for name, child in parent.named_children()
        if isinstance(child, DividedFcHead)
    ]
    for parent, name, child in divided:
        setattr(parent, name, child.whole())
    try:
        yield
    finally:
        for parent, name, child in divided:
            setattr(parent, name, child)


def whole_tensors(shares: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> dict[str, Tensor]:
    """Return tensors put together from all processes; every process has to call it.

    Args:
        shares: by name; those that `dimensions` lacks are whole already.
        dimensions: the axis along which a tensor is divided.
    """
    whole = dict(shares)
    for name, dimension in dimensions.items():
        if name in shares:
            parts = [torch.empty_like(shares[name]) for _ in range(world_size())]
            dist.all_gather(parts, shares[name].contiguous())
            whole[name] = torch.cat(parts, dim=dimension)
    return whole


def own_shares(whole: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> dict[str, Tensor]:
    """Return this process's shares of tensors; the inverse of `whole_tensors`.

    Args:
        whole: by name.
        dimensions: the axis along which a tensor is divided; the others stay whole.
    """
    shares = dict(whole)
    for name, dimension in dimensions.items():
        if name in whole:
            shares[name] = whole[name].chunk(world_size(), dim=dimension)[dist.get_rank()]
    return shares


def _local(tensor: Any) -> Tensor:
    local: Tensor = tensor.to_local()
    return local
