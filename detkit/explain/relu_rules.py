"""Backward rules of the ReLU: deconvnet's and guided backpropagation's, wherever a network calls one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Rule = Literal["deconvnet", "guided"]

_RELUS: Mapping[Callable[..., Any], float] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), torch.inf),
    F.relu6: 6.0,
    F.hardtanh: torch.inf,  # what the module ReLU6 calls, with its own limits
}
"""All ways to a ReLU, and where it is cut off; modules call these functions, too."""


class ReluRule(TorchFunctionMode):
    """Gives every ReLU inside the `with` another backward pass; what it returns stays the same.

    Deconvnet passes on what is positive in the gradient, wherever the unit was on or off; guided
    backpropagation passes on what is positive in the gradient of units that were on.

    Args:
        rule: deconvnet or guided.

    Attributes:
        applied: how many ReLUs were run inside.

    Reference: Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014;
    Springenberg et al., Striving for simplicity, ICLR 2015 workshop.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule, self.applied = rule, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch; a ReLU by its rule."""
        kwargs = kwargs or {}
        is_relu = func in _RELUS and (func is not F.hardtanh or kwargs.get("min_val") == 0)
        if not is_relu:
            return func(*args, **kwargs)
        self.applied += 1
        x = args[0] if args else kwargs["input"]
        return _Ruled.apply(x, kwargs.get("max_val", _RELUS[func]), self.rule)


class _Ruled(torch.autograd.Function):
    """A ReLU, perhaps cut off above; never in place, which no caller in the house relies on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float, rule: Rule) -> Tensor:
        out = x.clamp(0.0, ceiling)
        ctx.save_for_backward(out)
        ctx.ceiling, ctx.rule = ceiling, rule
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        positive = gradient.clamp(min=0)
        if ctx.rule == "guided":
            (out,) = ctx.saved_tensors
            positive = positive * ((out > 0) & (out < ctx.ceiling))
        return positive, None, None
