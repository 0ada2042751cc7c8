"""A reproducible random choice of positives and negatives, the same on every device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.ops.matching import BACKGROUND

_MASK_32 = (1 << 32) - 1
_MASK_64 = (1 << 64) - 1


def mix_seed(*values: int) -> int:
    """Return one well-mixed seed made of several numbers; their order counts.

    Args:
        values: any integers, such as seed, epoch and image index.

    Returns:
        An integer in [0, 2**63).

    Example:
        >>> mix_seed(0, 1) != mix_seed(1, 0)
        True

    Reference: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK_64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK_64
        state ^= state >> 31
    return state >> 1


def random_priority(num: int, seed: int, device: torch.device | str) -> Tensor:
    """Return distinct random numbers that depend on the seed and their position only.

    They are hashes of the position in integer arithmetic, so a CPU and a GPU agree on every bit, which
    their random generators do not.

    Args:
        num: how many; less than 2**31.
        seed: any integer.
        device: where the numbers shall be.

    Returns:
        (num,) int64, non-negative and distinct.

    Example:
        >>> torch.equal(random_priority(5, 7, "cpu"), random_priority(9, 7, "cpu")[:5])
        True
    """
    key = mix_seed(seed)
    position = torch.arange(num, dtype=torch.int64, device=device)
    hashed = position ^ (key & _MASK_32)
    # Both factors stay below 2**31 and the state below 2**32, so that no product leaves int64.
    for factor in (0x7FEB352D, 0x21F0AAAD):
        hashed = ((hashed ^ (hashed >> 16)) * factor) & _MASK_32
        hashed = hashed ^ (hashed >> 15) ^ (key >> 32)
    # The position in the low bits sets equal hashes apart.
    return (hashed << 31) | position


@dataclass(frozen=True)
class Sampler:
    """Samples a few positives and fill up with background, without replacement.

    Attributes:
        num: how many to sample together.
        fg_fraction: at most this share of `num` is positive.

    Example:
        >>> sampler = Sampler(num=4, fg_fraction=0.25)
        >>> fg, bg = sampler(torch.tensor([-1, 0, -1, 2, -2, -1, 1]), seed=0)
        >>> len(fg), sorted(bg.tolist())
        (1, [0, 2, 5])
    """

    num: int
    fg_fraction: float

    def __call__(self, matches: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the positions drawn of positives and of background.

        Args:
            matches: (N,) index of an object, `BACKGROUND` or `IGNORED`; see `detkit.ops.matching.match`.
            seed: any integer; the same seed draws the same positions.

        Returns:
            Two 1-D int64 tensors of positions in `matches`, in random order. There are at most
            `round(num * fg_fraction)` positives; together they are fewer than `num` only where
            positions run short.
        """
        return self.sample_all([matches], [seed])[0]

    def sample_all(self, matches: Sequence[Tensor], seeds: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return what is drawn of each image; the host waits for the device once for all of them.

        Args:
            matches: for each image, as above.
            seeds: for each image, any integer.

        Example:
            >>> images = [torch.tensor([-1, 0]), torch.tensor([-1, -1, -1])]
            >>> [(len(fg), len(bg)) for fg, bg in Sampler(2, 0.5).sample_all(images, [0, 0])]
            [(1, 1), (0, 2)]
        """
        allowed = [(own >= 0, own == BACKGROUND) for own in matches]
        counts = torch.stack([torch.stack([fg.sum(), bg.sum()]) for fg, bg in allowed]).tolist()
        drawn = []
        for (fg, bg), (num_fg, num_bg), seed in zip(allowed, counts, seeds, strict=True):
            priority = random_priority(len(fg), seed, fg.device)
            positives = min(round(self.num * self.fg_fraction), num_fg)
            negatives = min(self.num - positives, num_bg)
            drawn.append((_first(priority, fg, positives), _first(priority, bg, negatives)))
        return drawn


def _first(priority: Tensor, allowed: Tensor, num: int) -> Tensor:
    """Return the `num` allowed positions of lowest priority; there are that many."""
    last = torch.iinfo(priority.dtype).max
    return priority.masked_fill(~allowed, last).topk(num, largest=False).indices
