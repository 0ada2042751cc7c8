from __future__ import annotations

import pytest
import torch

from detkit.ops.sampling import Sampler, mix_seed, random_priority


def slow_priority(position: int, key: int) -> int:
    """The same hash in Python's unbounded integers."""
    state = position ^ (key % 2**32)
    for factor in (0x7FEB352D, 0x21F0AAAD):
        state = (state ^ (state >> 16)) * factor % 2**32
        state = state ^ (state >> 15) ^ (key >> 32)
    return state * 2**31 + position


@pytest.mark.parametrize("seed", [0, 1, 2**62, -5])
def test_priorities_never_leave_int64(seed: int) -> None:
    expected = [slow_priority(position, mix_seed(seed)) for position in range(1000)]
    assert max(expected) < 2**63
    assert random_priority(1000, seed, "cpu").tolist() == expected


def test_priorities_look_random() -> None:
    for seed in range(3):
        ranks = random_priority(20_000, seed, "cpu").argsort().argsort().double() / 20_000
        counts = torch.histc(ranks[:1000], 10, 0, 1)  # neighbours spread over the whole range
        assert ((counts > 60) & (counts < 145)).all()
        assert abs(torch.corrcoef(torch.stack((ranks[:-1], ranks[1:])))[0, 1]) < 0.03
    first, second = (random_priority(20_000, seed, "cpu").argsort().argsort().double() for seed in (0, 1))
    assert abs(torch.corrcoef(torch.stack((first, second)))[0, 1]) < 0.03


def test_mixed_seeds_are_spread() -> None:
    seeds = {mix_seed(a, b) for a in range(100) for b in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix_seed(3) != mix_seed(3, 0)
    assert mix_seed(-1) != mix_seed(1)


def matches(fg: int, bg: int, ignored: int) -> torch.Tensor:
    values = torch.tensor([*range(fg), *[-1] * bg, *[-2] * ignored])
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    ("fg", "bg", "drawn"),
    [
        (50, 200, (16, 48)),
        (3, 200, (3, 61)),
        (50, 5, (16, 5)),
        (0, 0, (0, 0)),
        (0, 9, (0, 9)),
        (9, 0, (9, 0)),
    ],
)
def test_how_many_are_drawn(fg: int, bg: int, drawn: tuple[int, int]) -> None:
    given = matches(fg, bg, 20)
    positives, background = Sampler(64, 0.25)(given, seed=3)
    assert (len(positives), len(background)) == drawn
    assert (given[positives] >= 0).all()
    assert (given[background] == -1).all()
    assert len(set(positives.tolist() + background.tolist())) == sum(drawn)


def test_the_seed_alone_decides() -> None:
    given = matches(100, 1000, 50)
    draws = [torch.cat(Sampler(64, 0.5)(given, seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_every_candidate_is_drawn_equally_often() -> None:
    given = torch.full((20,), -1)
    counts = torch.zeros(20)
    for seed in range(2000):
        counts[Sampler(5, 0.5)(given, seed)[1]] += 1
    assert ((counts > 420) & (counts < 580)).all()  # 500 expected, standard deviation 19


def test_no_positions() -> None:
    fg, bg = Sampler(64, 0.25)(torch.zeros(0, dtype=torch.int64), 0)
    assert fg.shape == bg.shape == (0,)
    assert fg.dtype == bg.dtype == torch.int64


def test_images_drawn_together_are_drawn_as_alone() -> None:
    images = [
        torch.randint(-2, 3, (num,), generator=torch.Generator().manual_seed(num)) for num in (0, 9, 200)
    ]
    sampler, seeds = Sampler(16, 0.25), [4, 5, 6]
    for own, seed, drawn in zip(images, seeds, sampler.sample_all(images, seeds), strict=True):
        for together, alone in zip(drawn, sampler(own, seed), strict=True):
            assert torch.equal(together, alone)
