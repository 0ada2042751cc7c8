"""Batch normalisation as detectors use it, and convolution and frozen norm as one operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detkit.ops.convolution import Conv2d

Norm = Literal["none", "frozen", "trainable", "sync"]

IDENTITY = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
"""What a batch normalisation that changes nothing holds for each channel."""


class FrozenBatchNorm(nn.Module):
    """Batch normalisation whose statistics, scale and shift stay as they were loaded.

    It holds the same keys as `BatchNorm2d` but for the count of batches, which it ignores when it is
    loaded. Detectors freeze the statistics because their batches are too small to estimate them (He 2016).

    Args:
        channels: number of channels.
        eps: added to the variance.

    Attributes:
        kept: weights and shifts of the convolution before it with this norm in them, by their type; None
            makes them anew each time. See `folds_kept`.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.kept: dict[torch.dtype, tuple[Tensor, Tensor]] | None = None
        for name, value in IDENTITY.items():
            self.register_buffer(name, torch.full((channels,), value))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return (C,) factors and (C,) summands: the whole norm is `x * scale + shift`."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) features."""
        scale, shift = self.scale_and_shift()
        return x * scale[:, None, None] + shift[:, None, None]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm)


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """Return the norm of that kind; `none` is the identity."""
    match kind:
        case "frozen":
            return FrozenBatchNorm(channels)
        case "trainable":
            return nn.BatchNorm2d(channels)
        case "sync":
            return nn.SyncBatchNorm(channels)
        case "none":
            return nn.Identity()


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """Return `norm(conv(x))`; a frozen norm goes into the weights, so that it costs one pass less.

    The gradient reaches the convolution's weights through the scale, as it would in two steps.
    """
    if not isinstance(norm, FrozenBatchNorm):
        normed: Tensor = norm(conv(x))
        return normed
    weight, shift = _folded(conv, norm)
    folded: Tensor = conv._conv_forward(x, weight, shift)
    return folded


def _folded(conv: nn.Conv2d, norm: FrozenBatchNorm) -> tuple[Tensor, Tensor]:
    """Return the weights and the shift of a convolution with its norm in them."""
    # A compiled graph folds within itself: keeping something from it would make it another graph. One that is
    # exported has what was kept before.
    of_its_own = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    kept = None if torch.is_grad_enabled() or of_its_own else norm.kept
    if kept is not None and (kind := _working_type(conv.weight)) in kept:
        return kept[kind]
    scale, shift = norm.scale_and_shift()
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    weight = conv.weight * scale[:, None, None, None]
    if kept is not None:
        kept[kind] = weight, shift = weight.to(kind), shift.to(kind)
    return weight, shift


def _working_type(weight: Tensor) -> torch.dtype:
    """Return what a convolution computes in: autocast's type where it is on."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


@contextmanager
def folds_kept(model: nn.Module) -> Iterator[None]:
    """Fold each frozen norm once for all that is detected inside; no weights may change there.

    Folding reads and writes every weight of a backbone: per image that is a tenth of a small detector's
    time on a CPU.
    """
    norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm)]
    try:
        keep_folds(model)
        yield
    finally:
        for norm in norms:
            norm.kept = None


def keep_folds(model: nn.Module) -> None:
    """Fold each frozen norm once for good, in a model whose weights will not change any more."""
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm):
            module.kept = {}


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return what the layers make of `x` one after another, each frozen norm in its convolution."""
    for layer, following in pairwise([*layers, None]):
        if isinstance(layer, nn.Conv2d) and isinstance(following, FrozenBatchNorm):
            x = conv_norm(layer, following, x)
        elif layer is not None and not isinstance(layer, FrozenBatchNorm):
            x = layer(x)
    return x


def conv_block(channels_in: int, channels: int, *, size: int, norm: Norm, relu: bool) -> nn.Sequential:
    """Return a stride-1 convolution, its norm and perhaps a ReLU, as the parts around a backbone use it.

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        size: side of the kernel, odd; the output is as large as the input.
        norm: a norm other than `none` takes the place of the convolution's bias.
        relu: whether a ReLU follows.
    """
    layers: list[nn.Module] = [Conv2d(channels_in, channels, size, padding=size // 2, bias=norm == "none")]
    if norm != "none":
        layers.append(make_norm(norm, channels))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
