"""Initial weights where no file gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLS = (Tensor.normal_, Tensor.uniform_)
_INIT = nn.init.__name__


class Unfilled(TorchFunctionMode):
    """A `with` in which parameters get no random values, because a file has those of all of them.

    To draw the 138 million of a VGG-16 takes longer than to read them.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave a parameter as it is where it would be filled, and do everything else."""
        kwargs = kwargs or {}
        # Functions of torch.nn.init come here themselves, and what they call does not.
        if func in _FILLS or getattr(func, "__module__", "") == _INIT:
            filled = args[0] if args else kwargs.get("tensor")
            if isinstance(filled, nn.Parameter):
                return filled
        return func(*args, **kwargs)


def he_normal(module: nn.Module) -> None:
    """Fill convolutions and linear layers so that a ReLU network keeps the size of its activations.

    Reference: He et al., Delving Deep into Rectifiers, ICCV 2015.
    """
    _fill(module, partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu"))


def gaussian(module: nn.Module, std: float) -> None:
    """Fill convolutions and linear layers from a normal distribution, as the papers do in new layers."""
    _fill(module, partial(nn.init.normal_, std=std))


def lecun_uniform(module: nn.Module) -> None:
    """Fill layers without a ReLU behind them, or fully connected ones, with variance one over fan-in."""
    _fill(module, partial(nn.init.kaiming_uniform_, a=1))


def _fill(module: nn.Module, fill_weight: Callable[[Tensor], Tensor]) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fill_weight(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
