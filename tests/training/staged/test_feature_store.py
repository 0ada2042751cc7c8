from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.training.staged.feature_store import CachedVectors, feature_scale, lengths


def test_one_factor_brings_the_mean_norm_to_twenty() -> None:
    images = [np.random.default_rng(i).random((3 + i, 5)).astype(np.float32) for i in range(4)]
    counts = np.array([len(rows) for rows in images])
    scale = feature_scale(lambda image, rows: lengths(images[image][rows]), counts, seed=0)
    norms = np.linalg.norm(np.concatenate(images) * scale, axis=1)
    assert norms.mean() == pytest.approx(20.0)
    assert norms.std() > 0.1  # not each vector to the same length


def test_at_most_two_hundred_images_and_boxes_are_looked_at() -> None:
    asked: list[int] = []

    def norms(image: int, rows: np.ndarray) -> np.ndarray:
        asked.append(image)
        assert len(set(rows.tolist())) == 200
        assert 0 <= rows.min() <= rows.max() < 1000
        return np.full(len(rows), 2.0)

    counts = np.full(500, 1000)
    assert feature_scale(norms, counts, seed=1) == pytest.approx(10.0)
    assert len(asked) == len(set(asked)) == 200
    first = list(asked)
    asked.clear()
    feature_scale(norms, counts, seed=1)
    assert asked == first
    asked.clear()
    feature_scale(norms, counts, seed=2)
    assert asked != first


def scale_of(norms: np.ndarray, seed: int) -> float:
    return feature_scale(lambda image, rows: norms[rows], np.array([len(norms)]), seed)


def test_boxes_beyond_two_hundred_do_not_count_and_are_chosen_by_chance() -> None:
    # One box in a thousand is of length 2001: all 1000 have a mean of 3, and any 200 of 1 or 11.
    of_one = np.ones(1000)
    of_one[0] = 2001.0
    found = {round(scale_of(of_one, seed), 6) for seed in range(30)}
    assert found == {20.0, round(20 / 11, 6)}
    of_one = np.ones(201)
    of_one[-1] = 0.0  # of 201 boxes any may be left out, not always the last
    assert max(scale_of(of_one, seed) for seed in range(5)) == pytest.approx(20 * 200 / 199)
    assert scale_of(np.array([1.0, 3.0]), 0) == pytest.approx(10.0)


@pytest.mark.parametrize("norms", [np.zeros(0), np.zeros(2), np.full(2, np.nan)])
def test_features_that_say_nothing_are_refused(norms: np.ndarray) -> None:
    with pytest.raises(UserError, match="features"):
        scale_of(norms, 0)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never run",)


def test_a_pickle_in_the_place_of_what_is_done_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "done.npy").write_bytes(pickle.dumps(Harmful()))
    vectors = object.__new__(CachedVectors)
    vectors._done, vectors._create = tmp_path / "done.npy", lambda: None  # type: ignore[method-assign]
    vectors.reader = SimpleNamespace(regions=())  # type: ignore[assignment]
    with pytest.raises(ValueError, match="pickled"):
        vectors.fill()
    assert "never run" not in capsys.readouterr().out
