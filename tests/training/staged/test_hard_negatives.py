from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.training.staged.hard_negatives import FeatureRows, Mining, MiningState, mine, planes
from detkit.training.staged.mining_file import load_mining, save_mining
from detkit.training.staged.negative_cache import NegativeCache
from tests.reference.hard_negatives import mine_one_class

SIZE = 12
CLASSES = ("cat", "dog", "cow")
HOW = Mining(
    c=0.001,
    positive_weight=2.0,
    bias_multiplier=10.0,
    hard_above=-1.0001,
    evict_below=-1.2,
    retrain_after=30,
    passes=1,
    drop_duplicates=False,
)


@dataclass
class Made:
    """Images of random boxes, some of which look like a class."""

    images: list[FeatureRows]
    objects: list[tuple[NDArray[np.float32], NDArray[np.int64]]]
    num_features: int = SIZE

    @property
    def num_images(self) -> int:
        return len(self.images)

    def positives(self, image: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return self.objects[image]

    def candidates(self, image: int) -> FeatureRows:
        return self.images[image]


def made(counts: Sequence[int] = (40, 25, 0, 60, 33, 50), num_classes: int = 3) -> Made:
    chance = np.random.default_rng(5)
    typical = chance.random((num_classes, SIZE))
    images, objects = [], []
    for count in counts:
        rows = np.maximum(chance.standard_normal((count, SIZE)) + 0.4, 0)
        rows *= 20 / np.sqrt(SIZE)
        negative = chance.random((count, num_classes)) < 0.8
        images.append(FeatureRows(rows.astype(np.float32), np.arange(count) * 3, negative))
        labels = np.repeat(np.arange(num_classes), 2)
        features = (typical[labels] + 0.4 * chance.random((len(labels), SIZE))) * 8
        objects.append((features.astype(np.float32), labels))
    return Made(images, objects)


def negatives_left(state: MiningState, label: int) -> set[tuple[int, int]]:
    content, rows = state.cache.state(), state.cache.rows(label)
    return set(zip(content["images"][rows].tolist(), (content["keys"][rows] // 3).tolist(), strict=True))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("retrain_after", [3, 30, 1000])
def test_agrees_with_mining_box_by_box(passes: int, retrain_after: int) -> None:
    source = made()
    state = mine(source, CLASSES, replace(HOW, passes=passes, retrain_after=retrain_after))
    rounds = 0
    for label, svm in enumerate(planes(state)):
        assert svm is not None
        positives = np.concatenate([rows[labels == label] for rows, labels in source.objects])
        images = [(image.rows, image.negative[:, label]) for image in source.images]
        expected, left, times = mine_one_class(
            positives,
            images,
            passes=passes,
            retrain_after=retrain_after,
            hard_above=HOW.hard_above,
            evict_below=HOW.evict_below,
        )
        np.testing.assert_allclose(svm.weights, expected.weights, rtol=1e-6, atol=1e-7)
        assert svm.bias == pytest.approx(expected.bias, rel=1e-6)
        assert negatives_left(state, label) == set(left)
        rounds += times
    assert state.rounds == rounds
    assert 0 < len(negatives_left(state, 0)) < sum(len(image.keys) for image in source.images)


def test_classes_shared_among_processes_are_learned_alike() -> None:
    source = made()
    whole, part = mine(source, CLASSES, HOW), mine(source, CLASSES, HOW, own=[1])
    np.testing.assert_array_equal(part.weights[1], whole.weights[1])
    assert [svm is None for svm in planes(part)] == [True, False, True]


@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_killed_mining_goes_on_to_the_same_planes(killed_after: int, tmp_path: Path) -> None:
    source, file = made(), tmp_path / "mining.safetensors"
    whole = mine(source, CLASSES, HOW)

    class Killed(Exception):
        pass

    def kill(state: MiningState) -> None:
        if state.done == killed_after:
            save_mining(file, state)
            raise Killed

    with pytest.raises(Killed):
        mine(source, CLASSES, HOW, on_image=kill)
    again = mine(source, CLASSES, HOW, state=load_mining(file))
    np.testing.assert_array_equal(again.weights, whole.weights)
    np.testing.assert_array_equal(again.bias, whole.bias)
    assert again.rounds == whole.rounds


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mining.safetensors"
    save_mining(file, MiningState.begin(3, 2))
    assert load_mining(file).weights.shape == (2, 3)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match="delete it to begin anew"):
        load_mining(file)


def test_a_class_without_positives_is_not_learned() -> None:
    source = made()
    source.objects = [(rows[labels != 1], labels[labels != 1]) for rows, labels in source.objects]
    state = mine(source, CLASSES, HOW)
    assert [svm is None for svm in planes(state)] == [False, True, False]
    assert negatives_left(state, 1) == set()
    assert not state.weights[1].any()


def test_the_first_image_may_have_no_negatives() -> None:
    source = made((0, 20, 20))
    svm = planes(mine(source, CLASSES, HOW))[0]
    assert svm is not None
    assert svm.weights.any()


def test_a_class_without_any_negative_is_an_error() -> None:
    source = made((4, 4))
    source.images = [replace(image, negative=np.zeros_like(image.negative)) for image in source.images]
    with pytest.raises(UserError, match="SVM of cat: no box"):
        mine(source, CLASSES, HOW)


def test_boxes_that_look_the_same_count_once() -> None:
    source = made((20, 20))
    twice = [
        FeatureRows(np.repeat(image.rows, 2, axis=0), np.arange(40) * 3, np.repeat(image.negative, 2, axis=0))
        for image in source.images
    ]
    for image in twice:  # the first of the two is a negative of one class, the second of the other
        image.negative[::2, 0] = False
    doubled = replace(source, images=twice)
    once = mine(source, CLASSES, HOW)
    unique = mine(doubled, CLASSES, replace(HOW, drop_duplicates=True))
    np.testing.assert_allclose(unique.weights, once.weights, rtol=1e-5, atol=1e-7)
    both = mine(doubled, CLASSES, HOW)
    assert np.abs(both.weights[1] - once.weights[1]).max() > 1e-4


def test_cache_keeps_a_box_of_several_classes_once_and_forgets_it_with_the_last() -> None:
    cache = NegativeCache(2, 3)
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    of = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]], bool)
    cache.add(7, np.arange(6), rows, of)
    assert cache.rows(0).tolist() == [0, 3, 4, 5]
    assert cache.known(7, np.array([9, 1, 0])).tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert not cache.known(8, np.array([0])).any()
    cache.add(7, np.array([1, 9]), rows[[1, 5]], np.array([[1, 0, 0], [0, 0, 1]], bool))
    assert cache.rows(0).tolist() == [0, 1, 3, 4, 5]  # box 1 is a negative of another class, too
    cache.remove(np.array([1, 3, 4, 5]), 0)
    cache.remove(cache.rows(1)[1:], 1)
    left = cache.state()  # boxes 0, 2 and 9 moved together
    assert left["keys"].tolist() == [0, 2, 9]
    np.testing.assert_array_equal(left["features"], rows[[0, 2, 5]])
    np.testing.assert_array_equal(cache.features(cache.rows(2)), rows[[2, 5]])


def test_cache_grows_and_moves_rows_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.staged.negative_cache._FIRST", 4)
    cache, chance = NegativeCache(3, 2), np.random.default_rng(0)
    rows = chance.random((100, 3)).astype(np.float32)
    for image in range(10):
        part = rows[image * 10 : image * 10 + 10]
        cache.add(image, np.arange(10), part, np.ones((10, 2), bool))
    dropped = chance.permutation(100)[:70]
    cache.remove(dropped, 0)
    assert len(cache.state()["keys"]) == 100
    cache.remove(dropped, 1)
    np.testing.assert_array_equal(cache.state()["features"], rows[np.setdiff1d(np.arange(100), dropped)])
