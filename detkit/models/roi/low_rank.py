"""A fully connected layer as two thin ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn


def low_rank(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Return two layers that compute nearly what one does, by the truncated singular value decomposition.

    With W = U S V' the first is S V' = U' W, without a bias, and the second U, with the bias; of all pairs of
    that width theirs is the product nearest to W. From the full rank on nothing is lost.

    U comes from the eigenvectors of W W' in float64, which is far smaller than W for VGG16's fc6.

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
    on_apple = layer.weight.device.type == "mps"  # which has no float64
    weight = (layer.weight.cpu() if on_apple else layer.weight).detach().double()
    has_bias = layer.bias is not None
    pair = thin_pair(layer.in_features, layer.out_features, rank, bias=has_bias).to(layer.weight)
    first, second = cast(Iterable[nn.Linear], pair)
    kept = first.out_features
    with torch.no_grad():
        if layer.out_features <= layer.in_features:
            left = _strongest(weight @ weight.T, kept)
            first.weight.copy_(left.T @ weight)
            second.weight.copy_(left)
        else:
            right = _strongest(weight.T @ weight, kept)
            first.weight.copy_(right.T)
            second.weight.copy_(weight @ right)
        if has_bias:
            second.bias.copy_(layer.bias)
    return pair


def thin_pair(features_in: int, features_out: int, rank: int, *, bias: bool = True) -> nn.Sequential:
    """Return two layers as `low_rank` makes them, with weights at random.

    Args:
        features_in: D.
        features_out: N.
        rank: width between them, min(N, D) at most.
        bias: whether the second has one; the first never has.
    """
    kept = min(rank, features_in, features_out)
    return nn.Sequential(nn.Linear(features_in, kept, bias=False), nn.Linear(kept, features_out, bias=bias))


def _strongest(symmetric: Tensor, kept: int) -> Tensor:
    """Return the eigenvectors of the largest eigenvalues as columns, those of the largest first."""
    vectors: Tensor = torch.linalg.eigh(symmetric).eigenvectors
    return vectors.flip(1)[:, :kept]
