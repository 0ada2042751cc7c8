"""The linear support vector machine by an interior point method: a few large matrix products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GAP, _STEPS = 1e-9, 100
_TO_THE_WALL = 0.995  # of the way to the nearest bound; at the bound itself a step could not be scaled


def interior_point(
    features: NDArray[np.floating[Any]],
    signs: NDArray[np.float64],
    limits: NDArray[np.float64],
    bias_multiplier: float,
    device: str,
) -> tuple[NDArray[np.float64], float]:
    """Return the plane of a linear SVM with the L1 hinge, and how far it can be from the best.

    Solves the dual, min 0.5 |Z'a|² - Σa with 0 <= a <= limits and Z = signs · (features, B), with the
    plane Z'a. Each of 10 to 30 steps solves one system of the size min(N, D + 1).

    Args:
        features: (N, D).
        signs: (N,) 1 for positives and -1 for negatives; one sign alone is fine.
        limits: (N,) weight of each hinge loss, positive.
        bias_multiplier: B, the constant appended to the features.
        device: where to compute; it must have float64.

    Returns:
        (D + 1,) plane, its last entry to be multiplied by B for the bias; and the relative duality gap:
        (objective - best possible objective) / objective is at most that.

    Reference: Ferris & Munson, Interior-point methods for massive support vector machines, SIAM J. Optim.
    2002; Mehrotra, SIAM J. Optim. 1992 (the corrector).
    """
    rows = torch.as_tensor(features, device=device).to(torch.float64)
    z = torch.cat((rows, rows.new_full((len(rows), 1), bias_multiplier)), dim=1)
    del rows
    z *= torch.as_tensor(signs, device=device)[:, None]
    u = torch.as_tensor(limits, device=device)
    best, gap = z.new_zeros(z.shape[1]), 1.0  # the plane of a = 0, whose dual objective is 0
    if len(z) == 0:
        return best.cpu().numpy(), 0.0
    at, solve = _begin(z, u), _solver(z)
    for _ in range(_STEPS):
        plane = z.T @ at.a
        now = _relative_gap(z @ plane, plane, at.a, u)
        if now < gap:
            best, gap = plane, now
        if gap <= _GAP:
            break
        try:
            at = _step(at, solve(at.diagonal), z @ plane - 1)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # public, but not marked as exported
            # Rounding is larger than what is left to gain.
            break
    return best.cpu().numpy(), gap


@dataclass(frozen=True)
class _Place:
    """Where the method stands: the dual variables a, u - a, and the multipliers of a >= 0 and a <= u."""

    a: Tensor
    rest: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def diagonal(self) -> Tensor:
        return self.lower / self.a + self.upper / self.rest

    @property
    def complementarity(self) -> Tensor:
        return (self.lower @ self.a + self.upper @ self.rest) / (2 * len(self.a))

    def moved(self, by: _Place, length: Tensor | float) -> _Place:
        return _Place(*(p + length * d for p, d in zip(vars(self).values(), vars(by).values(), strict=True)))

    def longest_step(self, by: _Place) -> Tensor:
        ratios = torch.cat([-d / p for p, d in zip(vars(self).values(), vars(by).values(), strict=True)])
        return 1 / ratios.max().clamp(min=1.0)


def _begin(z: Tensor, u: Tensor) -> _Place:
    a = u / 2
    slope = z @ (z.T @ a) - 1
    # lower - upper = slope, and lower · upper is the same for all, of the size that the slopes have.
    spread = slope.square().mean() + 1
    larger = (torch.sqrt(slope**2 + spread) + slope.abs()) / 2
    smaller = spread / 4 / larger
    return _Place(a, u - a, torch.where(slope > 0, larger, smaller), torch.where(slope > 0, smaller, larger))


def _relative_gap(margins: Tensor, plane: Tensor, a: Tensor, u: Tensor) -> float:
    half_norm = 0.5 * (plane @ plane)
    primal = half_norm + u @ (1 - margins).clamp(min=0)
    return float((primal - (a.sum() - half_norm)) / primal)


def _step(at: _Place, solve: Callable[[Tensor], Tensor], slope: Tensor) -> _Place:
    unbalanced = slope - at.lower + at.upper  # zero but for rounding

    def towards(lower: Tensor, upper: Tensor) -> _Place:
        """The Newton step that changes lower · a and upper · rest by so much."""
        a = solve(lower / at.a - upper / at.rest - unbalanced)
        return _Place(a, -a, (lower - at.lower * a) / at.a, (upper + at.upper * a) / at.rest)

    lower, upper = -at.lower * at.a, -at.upper * at.rest
    straight = towards(lower, upper)
    level = at.complementarity
    reached = at.moved(straight, at.longest_step(straight)).complementarity
    goal = level * (reached / level) ** 3
    bent = towards(
        lower + goal - straight.lower * straight.a,
        upper + goal - straight.upper * straight.rest,
    )
    return at.moved(bent, _TO_THE_WALL * at.longest_step(bent))


def _solver(z: Tensor) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """Return what prepares and solves (Z Z' + diag(d)) x = r, through the smaller of its two forms."""
    count, size = z.shape
    gram = z @ z.T if count <= size else None

    def prepare(diagonal: Tensor) -> Callable[[Tensor], Tensor]:
        if gram is not None:
            factor = torch.linalg.cholesky(gram + torch.diag(diagonal))
            return lambda right: torch.cholesky_solve(right[:, None], factor)[:, 0]
        inner = (z / diagonal[:, None]).T @ z
        inner.diagonal().add_(1)
        factor = torch.linalg.cholesky(inner)

        def solve(right: Tensor) -> Tensor:
            plane = torch.cholesky_solve((z.T @ (right / diagonal))[:, None], factor)[:, 0]
            return (right - z @ plane) / diagonal

        return solve

    return prepare
