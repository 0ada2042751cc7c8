"""A CUDA device that is pretended: tensors say that they are there, and are computed on the CPU.

It finds what breaks on a GPU without one: tensors of two devices in one operation, NumPy and compiled loops
given a tensor of the device, and, where training is to be deterministic, operations whose CUDA kernels are
not. What only a GPU has (pinned memory, streams, its own rounding) it cannot find; the tests marked gpu do.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map, tree_map_only

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

# What PyTorch and torchvision refuse on a GPU where training is to be deterministic
# (`torch.use_deterministic_algorithms`): sums in an order that changes from run to run.
UNORDERED = {
    "adaptive_max_pool2d_backward", "_adaptive_avg_pool2d_backward", "avg_pool3d_backward",
    "upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward", "upsample_bicubic2d_backward",
    "reflection_pad2d_backward", "grid_sampler_2d_backward", "nll_loss2d_forward", "nll_loss2d_backward",
    "put_", "histc", "_roi_align_backward", "_roi_pool_backward",
}  # fmt: skip

# What moves a tensor from one device to the other, or reads one value of it.
_BRIDGES = {"_to_copy", "copy_", "_local_scalar_dense", "_pin_memory", "is_pinned"}


class OnCuda(Tensor):
    """A tensor that says it is on a CUDA device; its numbers are in `held`, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnCuda:
        made: OnCuda = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device="cpu", requires_grad=False,  # for PyTorch's own machinery, which would ask for a driver
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCuda({self.held!r})"

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        return OnCuda(self.held.new_tensor(*args, **kwargs))

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.to and len(args) > 1 and isinstance(args[1], Tensor):
            args = (args[0], args[1].device, args[1].dtype, *args[2:])
        if func in (Tensor.to, Tensor.cpu) and isinstance(args[0], OnCuda):
            # PyTorch takes it for a tensor of the CPU already, and would return it as it is.
            places = [*args[1:], kwargs.get("device"), "cpu" if func is Tensor.cpu else None]
            if any(isinstance(place, str | torch.device) and torch.device(place) == CPU for place in places):
                return func(args[0].held.detach(), *args[1:], **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


class PretendedCuda(TorchDispatchMode):
    """A `with` in which tensors can be made on the pretended device, and tensors and modules moved there."""

    def __enter__(self) -> Any:
        self._rest = ExitStack()
        if not torch.cuda.is_available():
            self._rest.enter_context(patch.object(torch.cuda, "_lazy_init", lambda: None))
        # A module that is moved gets other parameters, and torch.tensor(..., device=...) comes here, too.
        for switch in (torch.__future__.set_overwrite_module_params_on_conversion, _lift_here):
            switch(True)
            self._rest.callback(switch, False)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._rest.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


def _lift_here(lift: bool) -> None:
    torch._C._set_only_lift_cpu_tensors(lift)  # as PyTorch's own fake tensors do


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.split("::")[1]
    tensors: list[Tensor] = []
    tree_map_only(Tensor, tensors.append, (args, kwargs))
    there = [isinstance(each, OnCuda) for each in tensors]
    kwargs, wanted = dict(kwargs), kwargs.get("device")
    leads_to_cuda = any(there)
    if wanted is not None:
        # PyTorch's own backward formulas make tensors where it thinks that their arguments are.
        like = (any(there) and name.startswith("new_")) or name.endswith("_like")
        leads_to_cuda = torch.device(wanted).type == "cuda" or like
        kwargs["device"] = CPU
    kwargs.pop("pin_memory", None)
    if any(there):
        assert func.namespace != "detkit", f"{func} is for the CPU alone"
        # A number as a tensor without dimensions may be on the CPU.
        strangers = [each for each, own in zip(tensors, there, strict=True) if not own and each.dim() > 0]
        assert not strangers or name in _BRIDGES, f"{func} got tensors of cuda and of the cpu"
        refused = torch.are_deterministic_algorithms_enabled() and name in UNORDERED
        assert not refused, f"{func} has no deterministic CUDA kernel"
    result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if name == "copy_" or not leads_to_cuda:
        return args[0] if name == "copy_" else result
    wrapped = tree_map_only(Tensor, OnCuda, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if any(there) else wrapped


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnCuda) else value
