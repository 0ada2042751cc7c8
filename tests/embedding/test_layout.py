from __future__ import annotations

import numpy as np
import pytest

from detkit.embedding.layout import STEPS, layout
from tests.embedding.test_neighbours import clusters


def test_a_seed_fixes_the_map_and_classes_stay_together() -> None:
    codes, labels = clusters(30, spread=0.3)
    steps: list[tuple[int, int]] = []
    places = layout(codes, 3, lambda done, total: steps.append((done, total)))
    assert (places == layout(codes, 3)).all()
    assert places.shape == (120, 2)
    assert places.min() >= 0
    assert places.max() == pytest.approx(1)
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (labels[apart.argmin(axis=1)] == labels).mean() > 0.98
    assert steps
    assert steps[-1] == (STEPS, STEPS)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 20])
@pytest.mark.parametrize("dimensions", [1, 40])
def test_few_codes_have_places(count: int, dimensions: int) -> None:
    codes = np.random.default_rng(1).normal(size=(count, dimensions)).astype(np.float32)
    places = layout(codes, 0)
    assert places.shape == (count, 2)
    assert ((places >= 0) & (places <= 1)).all()
    if count == 1:
        assert places.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("count", [3, 30])
def test_equal_codes_have_places(count: int) -> None:
    places = layout(np.ones((count, 5), np.float32), 0)
    assert ((places >= 0) & (places <= 1)).all()


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    layout(clusters(5)[0], 0)
    assert capsys.readouterr() == ("", "")
