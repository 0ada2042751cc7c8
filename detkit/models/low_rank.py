"""A fully connected layer as two thin ones."""

from __future__ import annotations

import torch
from torch import nn


def low_rank(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Return two layers that compute nearly what one does, by the truncated singular value decomposition.

    With W = U S V' the first is S V', without a bias, and the second U, with the bias; of all pairs of
    that width theirs is the product nearest to W. From the full rank on nothing is lost.

    Args:
        layer: (D,) -> (N,), weights (N, D).
        rank: singular values to keep; those there are at most, min(N, D).

    Returns:
        (D,) -> (rank,) -> (N,), of the layer's type and on its device.

    Example:
        >>> [tuple(p.shape) for p in low_rank(nn.Linear(6, 4), 2).parameters()]
        [(2, 6), (4, 2), (4,)]

    Reference: Girshick, Fast R-CNN, ICCV 2015, section 3.1.
    """
    weight = layer.weight.detach()
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    kept = min(rank, len(values))
    place = {"device": weight.device, "dtype": weight.dtype}
    first = nn.Linear(layer.in_features, kept, bias=False, **place)
    second = nn.Linear(kept, layer.out_features, bias=layer.bias is not None, **place)
    with torch.no_grad():
        first.weight.copy_(values[:kept, None] * right[:kept])
        second.weight.copy_(left[:, :kept])
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)
