from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.training.staged.mining_state import MiningState, NegativeCache, load_mining, save_mining


def empty(num_features: int, num_classes: int) -> NegativeCache:
    return MiningState.begin(num_features, num_classes).cache


def test_cache_keeps_a_box_of_several_classes_once_and_forgets_it_with_the_last() -> None:
    cache = empty(2, 3)
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    of = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]], bool)
    cache.add(rows[:4], of[:4])
    cache.add(rows[4:], of[4:])
    where, copied = cache.negatives(0)
    assert where.tolist() == [0, 3, 4, 5]
    np.testing.assert_array_equal(copied, rows[where])
    cache.remove(np.array([3, 4, 5]), 0)
    assert cache.negatives(1)[0].tolist() == [0, 1]
    cache.remove(np.array([0, 1]), 1)
    features, left = cache.content  # boxes 0 and 2 moved together
    assert left.tolist() == [[True, False, False], [False, False, True]]
    np.testing.assert_array_equal(features, rows[[0, 2]])
    np.testing.assert_array_equal(cache.negatives(2)[1], rows[[2]])


def test_cache_grows_and_moves_rows_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.staged.mining_state._FIRST", 4)
    cache, chance = empty(3, 2), np.random.default_rng(0)
    rows = chance.random((100, 3)).astype(np.float32)
    for part in np.split(rows, 10):
        cache.add(part, np.ones((10, 2), bool))
    dropped = chance.permutation(100)[:70]
    cache.remove(dropped, 0)
    assert len(cache.content[0]) == 100
    cache.remove(dropped, 1)
    np.testing.assert_array_equal(cache.content[0], rows[np.setdiff1d(np.arange(100), dropped)])


def test_what_was_read_from_a_file_grows(tmp_path: Path) -> None:
    state, file = MiningState.begin(2, 3), tmp_path / "mining.safetensors"
    state.cache.add(np.ones((4, 2), np.float32), np.ones((4, 3), bool))
    state.done = 5
    save_mining(file, state)
    again = load_mining(file)
    again.cache.add(np.zeros((1, 2), np.float32), np.ones((1, 3), bool))
    assert again.cache.content[0].tolist() == [[1, 1]] * 4 + [[0, 0]]
    assert again.done == 5


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mining.safetensors"
    save_mining(file, MiningState.begin(3, 2))
    assert load_mining(file).weights.shape == (2, 3)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match="delete it to begin anew"):
        load_mining(file)


def test_boxes_are_known_by_their_features_class_by_class_through_growth_and_removal() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    state = MiningState.begin(3, 2)
    of = np.zeros((10, 2), np.bool_)
    of[:, 0], of[5:, 1] = True, True
    state.cache.add(rows[:10], of)
    expected = np.concatenate([of, np.zeros_like(of)])
    np.testing.assert_array_equal(state.cache.holds(rows), expected)
    state.cache.add(rows[10:12], np.ones((2, 2), np.bool_))
    expected[10:12] = True
    np.testing.assert_array_equal(state.cache.holds(rows), expected)
    gone, _ = state.cache.negatives(0)
    state.cache.remove(gone[:9], 0)  # those of one class alone go, and the others move together
    expected[:9, 0] = False
    np.testing.assert_array_equal(state.cache.holds(rows), expected)
