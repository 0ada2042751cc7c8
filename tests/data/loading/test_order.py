from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detkit.data.datasets.index import Index
from detkit.data.loading.order import Order, aspect_groups, repeat_factors
from tests.reference.small_set import small_set


def order(
    groups: list[int],
    batch_size: int,
    world_size: int = 1,
    rank: int = 0,
    repeats: float = 1.0,
    seed: int = 0,
) -> Order:
    factors = np.full(len(groups), repeats)
    return Order(factors, np.array(groups), batch_size, seed, rank, world_size)


def slow_factors(index: Index, num_classes: int, threshold: float) -> list[float]:
    held = [set(index.target(image).labels.tolist()) for image in range(len(index))]
    share = {c: sum(c in each for each in held) / len(held) for c in range(num_classes)}
    return [max([1.0, *((threshold / share[c]) ** 0.5 for c in each)]) for each in held]


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 2], [0, 1, 1, 2, 1, 1]])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 1.0])
def test_repeat_factors_follow_the_paper(threshold: float, labels: list[int]) -> None:
    index = Index.of(replace(small_set(), labels=np.array(labels, dtype=np.int32)))
    expected = slow_factors(index, 3, threshold)
    np.testing.assert_allclose(repeat_factors(index, 3, threshold), expected)
    assert (max(expected) > 1.0) == (threshold > 0.3)


def test_wide_and_tall() -> None:
    assert aspect_groups(Index.of(small_set())).tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert aspect_groups(Index.of(small_set(((0, 0),)))).tolist() == [0]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_no_image_is_lost_and_processes_keep_step(
    groups: list[int], per_process: int, world_size: int, epoch: int
) -> None:
    batch_size = per_process * world_size
    ranks = [order(groups, batch_size, world_size, rank).batches(epoch) for rank in range(world_size)]
    alone = order(groups, batch_size).batches(epoch)
    assert {len(batches) for batches in ranks} == {len(alone)} == {order(groups, batch_size).num_steps(epoch)}
    assert sorted(key.image for batch in alone for key in batch) == list(range(len(groups)))
    for step, whole in enumerate(alone):
        shares = [batches[step] for batches in ranks]
        assert len({len(share) for share in shares}) == 1
        assert {key for share in shares for key in share} == set(whole)
        assert sum(map(len, shares)) - len(whole) < world_size
        assert all(key.epoch == epoch for key in whole)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 5))
def test_batches_are_of_one_group_but_for_what_is_left_over(groups: list[int], batch_size: int) -> None:
    batches = order(groups, batch_size).batches(0)
    mixed = [batch for batch in batches if len({groups[key.image] for key in batch}) > 1]
    short = [batch for batch in batches if len(batch) < batch_size]
    assert len(short) <= 1
    left = sum(count % batch_size for count in Counter(groups).values())
    assert sum(map(len, mixed)) <= left


def test_seed_and_epoch_decide_the_order() -> None:
    def images(seed: int, epoch: int) -> list[int]:
        return [key.image for batch in order([0] * 30, 4, seed=seed).batches(epoch) for key in batch]

    assert images(0, 0) == images(0, 0)
    assert images(0, 0) != images(0, 1)
    assert images(0, 0) != images(1, 0)
    assert images(0, 0) != sorted(images(0, 0))


def test_fractions_are_rounded_at_random_and_copies_are_numbered() -> None:
    plan = order([0] * 50, 5, repeats=2.3)
    totals = []
    for epoch in range(40):
        keys = [key for batch in plan.batches(epoch) for key in batch]
        assert len(set(keys)) == len(keys)
        counts = Counter(key.image for key in keys)
        assert set(counts.values()) <= {2, 3}
        assert len(counts) == 50
        for image, count in counts.items():
            assert sorted(key.copy for key in keys if key.image == image) == list(range(count))
        totals.append(len(keys) / 50)
    assert np.mean(totals) == pytest.approx(2.3, abs=0.05)
    assert len(set(totals)) > 1
