from __future__ import annotations

import numpy as np
import pytest

from detkit.annotations.id_positions import positions


@pytest.mark.parametrize("spread", [1, 3, 10**9, 10**17])
@pytest.mark.parametrize("seed", range(5))
def test_ids_are_found_where_a_dictionary_finds_them(spread: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = rng.permutation(30)[:20] * spread - 5
    ids = rng.choice(np.concatenate([known, known + 1, [-(2**62), 2**62]]), 50)
    table = {value: place for place, value in enumerate(known.tolist())}
    assert positions(ids, known).tolist() == [table.get(value, -1) for value in ids.tolist()]


def test_without_known_ids_none_is_found() -> None:
    assert positions(np.array([1, 2]), np.array([], dtype=np.int64)).tolist() == [-1, -1]
    assert positions(np.array([], dtype=np.int64), np.array([3])).tolist() == []
