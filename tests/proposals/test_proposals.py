from __future__ import annotations

import numpy as np
import pytest

from detkit.proposals.proposals import Proposals, ranked


@pytest.mark.parametrize("count", [0, 1, 5])
def test_ranks_become_falling_scores(count: int) -> None:
    found = ranked(np.zeros((count, 4), dtype=np.float32))
    assert len(found) == count
    assert found.scores.dtype == np.float32
    assert (np.diff(found.scores) < 0).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()


def test_the_best_are_the_first() -> None:
    found = ranked(np.arange(12, dtype=np.float32).reshape(3, 4))
    assert len(found.best(None)) == 3
    assert found.best(2).boxes.tolist() == found.boxes[:2].tolist()
    assert len(found.best(9)) == 3
    assert len(Proposals.empty().best(1)) == 0


def test_scores_are_shares_of_the_number_of_boxes() -> None:
    assert ranked(np.zeros((5, 4), dtype=np.float32)).scores.tolist() == pytest.approx(
        [1, 0.8, 0.6, 0.4, 0.2]
    )
