from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from detkit.errors import UserError
from detkit.training.staged import svms
from detkit.training.staged.mining_state import MiningState, load_mining, save_mining
from detkit.training.staged.svms import LinearSVM, Mining, mine, train_svm
from tests.reference.hard_negatives import mine_one_class

SIZE = 12
RCNN = {"c": 0.001, "positive_weight": 2.0, "bias_multiplier": 10.0}
CLASSES = ("cat", "dog", "cow")
HOW = Mining(
    c=0.001,
    positive_weight=2.0,
    bias_multiplier=10.0,
    hard_above=-1.0001,
    evict_below=-1.2,
    retrain_after=30,
    drop_duplicates=False,
)


@dataclass
class Made:
    """Images of random boxes, some of which look like a class."""

    images: list[tuple[NDArray[np.float32], NDArray[np.bool_]]]
    objects: list[tuple[NDArray[np.float32], NDArray[np.int64]]]

    def __len__(self) -> int:
        return len(self.images)

    def positives(self, image: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return self.objects[image]

    def candidates(self, image: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return self.images[image]


def made(counts: Sequence[int] = (40, 25, 0, 60, 33, 50), num_classes: int = 3) -> Made:
    chance = np.random.default_rng(5)
    typical = chance.random((num_classes, SIZE))
    images, objects = [], []
    for count in counts:
        rows = np.maximum(chance.standard_normal((count, SIZE)) + 0.4, 0)
        rows *= 20 / np.sqrt(SIZE)
        negative = chance.random((count, num_classes)) < 0.8
        images.append((rows.astype(np.float32), negative))
        labels = np.repeat(np.arange(num_classes), 2)
        features = (typical[labels] + 0.4 * chance.random((len(labels), SIZE))) * 8
        objects.append((features.astype(np.float32), labels))
    return Made(images, objects)


def mined(source: Made, how: Mining = HOW, own: Sequence[int] = range(3)) -> MiningState:
    state = MiningState.begin(SIZE, 3)
    mine(source, state, CLASSES, how, own=own)
    return state


def negatives_left(state: MiningState, label: int) -> set[tuple[float, ...]]:
    return set(map(tuple, state.cache.negatives(label)[1].tolist()))


@pytest.mark.parametrize("retrain_after", [3, 30, 1000])
def test_agrees_with_mining_box_by_box(retrain_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rounds = made(), []

    def counted(*args: Any, **named: Any) -> LinearSVM:
        rounds.append(1)
        return train_svm(*args, **named)

    monkeypatch.setattr(svms, "train_svm", counted)
    state = mined(source, replace(HOW, retrain_after=retrain_after))
    times = 0
    for label in range(3):
        positives = np.concatenate([rows[labels == label] for rows, labels in source.objects])
        images = [(rows, negative[:, label]) for rows, negative in source.images]
        expected, left, often = mine_one_class(
            positives,
            images,
            retrain_after=retrain_after,
            hard_above=HOW.hard_above,
            evict_below=HOW.evict_below,
        )
        np.testing.assert_allclose(state.weights[label], expected.weights, rtol=1e-6, atol=1e-7)
        assert state.bias[label] == pytest.approx(expected.bias, rel=1e-6)
        assert negatives_left(state, label) == {tuple(images[image][0][box].tolist()) for image, box in left}
        times += often
    assert len(rounds) == times
    assert 0 < len(negatives_left(state, 0)) < sum(len(rows) for rows, _ in source.images)


def test_classes_shared_among_processes_are_learned_alike() -> None:
    source = made()
    whole, part = mined(source), mined(source, own=[1])
    np.testing.assert_array_equal(part.weights[1], whole.weights[1])
    assert part.trained.tolist() == [False, True, False]


@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_killed_mining_goes_on_to_the_same_planes(killed_after: int, tmp_path: Path) -> None:
    source, file = made(), tmp_path / "mining.safetensors"
    whole, state = mined(source), MiningState.begin(SIZE, 3)

    class Killed(Exception):
        pass

    def kill() -> None:
        if state.done == killed_after:
            save_mining(file, state)
            raise Killed

    with pytest.raises(Killed):
        mine(source, state, CLASSES, HOW, own=range(3), on_image=kill)
    again = load_mining(file)
    mine(source, again, CLASSES, HOW, own=range(3))
    np.testing.assert_array_equal(again.weights, whole.weights)
    np.testing.assert_array_equal(again.bias, whole.bias)
    for label in range(3):
        assert negatives_left(again, label) == negatives_left(whole, label)


def test_a_class_without_positives_is_not_learned() -> None:
    source = made()
    source.objects = [(rows[labels != 1], labels[labels != 1]) for rows, labels in source.objects]
    state = mined(source)
    assert state.trained.tolist() == [True, False, True]
    assert negatives_left(state, 1) == set()
    assert not state.weights[1].any()


def test_the_first_image_may_have_no_negatives() -> None:
    assert mined(made((0, 20, 20))).weights[0].any()


def test_a_class_without_any_negative_is_an_error() -> None:
    source = made((4, 4))
    source.images = [(rows, np.zeros_like(negative)) for rows, negative in source.images]
    with pytest.raises(UserError, match="SVM of cat: no box"):
        mined(source)


def test_boxes_that_look_the_same_count_once() -> None:
    source = made((20, 20))
    twice = [(np.repeat(rows, 2, axis=0), np.repeat(negative, 2, axis=0)) for rows, negative in source.images]
    for _, negative in twice:  # the first of the two is a negative of one class, the second of the other
        negative[::2, 0] = False
    doubled = replace(source, images=twice)
    once = mined(source)
    unique = mined(doubled, replace(HOW, drop_duplicates=True))
    np.testing.assert_allclose(unique.weights, once.weights, rtol=1e-5, atol=1e-7)
    both = mined(doubled)
    assert np.abs(both.weights[1] - once.weights[1]).max() > 1e-4


def test_images_that_come_again_bring_no_negative_twice() -> None:
    source = made()
    twice = Made(
        source.images * 2, source.objects + [(rows[:0], labels[:0]) for rows, labels in source.objects]
    )
    state = mined(twice, replace(HOW, drop_known=True, evict_below=-1e9))
    for label in range(3):
        rows = state.cache.negatives(label)[1]
        assert len({row.tobytes() for row in rows}) == len(rows) > 0


def made_examples(count: int, size: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Positive features of mean norm 20, one in eight of the class, which is not quite separable."""
    chance = np.random.default_rng(seed)
    features = np.maximum(chance.standard_normal((count, size)), 0)
    positive = chance.random(count) < 0.125
    positive[:2] = True, False
    features[positive] += 0.3 * chance.random(size)
    return (features * 20 / np.linalg.norm(features, axis=1).mean()).astype(np.float32), positive


def objective(svm: LinearSVM, features: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """What R-CNN's SVM is to make small, one example at a time."""
    total = 0.5 * (sum(w * w for w in svm.weights) + (svm.bias / 10) ** 2)
    for row, is_positive in zip(features.astype(np.float64), positive, strict=True):
        margin = row @ svm.weights + svm.bias
        total += 0.001 * (2.0 * max(0.0, 1 - margin) if is_positive else max(0.0, 1 + margin))
    return float(total)


@pytest.mark.parametrize(("count", "size"), [(60, 200), (400, 30)])
def test_objective_is_scikit_learns(count: int, size: int) -> None:
    """Against an independent call, run far longer, on the constant feature written out."""
    features, positive = made_examples(count, size)
    peer = LinearSVC(
        loss="hinge", C=0.001, class_weight={True: 2.0}, fit_intercept=False, tol=1e-10, max_iter=10**6
    )
    peer.fit(np.column_stack([features, np.full(count, 10.0)]).astype(np.float64), positive)
    best = objective(LinearSVM(peer.coef_[0, :-1], 10 * peer.coef_[0, -1]), features, positive)
    ours = objective(train_svm(features, positive, **RCNN), features, positive)
    assert ours == pytest.approx(best, rel=1e-6)


def test_no_small_step_from_the_plane_makes_it_better() -> None:
    features, positive = made_examples(200, 12)
    svm = train_svm(features, positive, **RCNN)
    least = objective(svm, features, positive)
    for direction in np.random.default_rng(1).standard_normal((20, 13)):
        moved = LinearSVM(svm.weights + 1e-3 * direction[:-1], svm.bias + 1e-2 * direction[-1])
        assert objective(moved, features, positive) > least


def test_a_smaller_bias_multiplier_keeps_the_bias_smaller() -> None:
    features, positive = made_examples(200, 12)
    biases = [
        abs(train_svm(features, positive, c=0.001, positive_weight=2.0, bias_multiplier=b).bias)
        for b in (0.1, 10.0)
    ]
    assert biases[0] < 0.1 * biases[1]


def test_training_is_the_same_every_time() -> None:
    examples = made_examples(100, 20)
    first, second = (train_svm(*examples, **RCNN) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert first.bias == second.bias


@pytest.mark.parametrize("all_positive", [True, False])
def test_examples_of_one_kind_are_refused(all_positive: bool) -> None:
    with pytest.raises(UserError, match=r"both kinds; got \d+ positive and \d+ negative"):
        train_svm(np.ones((3, 2), np.float32), np.full(3, all_positive), **RCNN)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    features, positive = made_examples(10, 3)
    features[4, 1] = value
    with pytest.raises(UserError, match="not a number"):
        train_svm(features, positive, **RCNN)


def test_liblinear_says_when_it_was_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.staged.svms._PASSES", 2)
    features, positive = made_examples(200, 10)
    with pytest.warns(UserWarning, match=r"liblinear ended after 2 passes.*N = 200, c = 10"):
        svm = train_svm(features, positive, **{**RCNN, "c": 10.0})
    assert np.isfinite(svm.weights).all()


def test_other_warnings_of_the_solver_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = LinearSVC.fit

    def warns(self: LinearSVC, *given: Any) -> LinearSVC:
        warnings.warn("something else", FutureWarning, stacklevel=1)
        return fit(self, *given)

    monkeypatch.setattr(LinearSVC, "fit", warns)
    with pytest.warns(FutureWarning, match="something else") as caught:
        train_svm(*made_examples(60, 5), **RCNN)
    assert len(caught) == 1
