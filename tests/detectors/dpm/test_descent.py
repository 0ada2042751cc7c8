"""Rounds of training: what is kept, when mining ends, and that a state can be written and gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.detectors.dpm import descent
from detkit.detectors.dpm.config import DPMConfig
from detkit.detectors.dpm.descent import Descent, FitLimits, Rounds, StarNegatives, train_round
from detkit.detectors.dpm.examples import Negatives, PlacedObject
from detkit.detectors.dpm.stage_files import read_descent, write_descent
from detkit.detectors.dpm.weights import StarWeights
from detkit.errors import UserError
from tests.detectors.dpm.test_weights import random_star

LIMITS = FitLimits(c=0.5, positive_weight=2.0, negatives=10, megabytes=100)


def small_star() -> StarWeights:
    return StarWeights.of_root((1, 1), (6, 6), mirrored=False)


def vector(value: float, star: StarWeights | None = None) -> np.ndarray:
    found = np.zeros(len((star or small_star()).values), np.float32)
    found[0], found[-1] = value, 10
    return found


def positive(value: float, score: float = 0.0) -> PlacedObject:
    return PlacedObject(0, vector(value), score, 0, np.zeros((1, 4)), np.zeros(4), (9, 9))


def negatives(*values: float, start: int = 0) -> Negatives:
    numbers = np.arange(start, start + len(values))
    return Negatives(0, np.stack([vector(value) for value in values]), numbers, np.array(values) - 1)


class Images:
    """Images that know what is in them, whatever the model."""

    def __init__(self, objects: list[list[PlacedObject]], mined: list[list[Negatives]]) -> None:
        self.objects, self.mined, self.searched = objects, mined, list[int]()

    def of_all(self, images, work):  # type: ignore[no-untyped-def]
        for image in images:
            yield work(image)

    def positives(self, stars: list[StarWeights], image: int) -> list[PlacedObject]:
        return [own._replace(score=float(own.features @ stars[0].values)) for own in self.objects[image]]

    def negatives(self, stars: list[StarWeights], image: int) -> list[Negatives]:
        self.searched.append(image)
        return [
            own._replace(scores=own.features.astype(float) @ stars[0].values) for own in self.mined[image]
        ]


def test_negatives_are_kept_once_and_in_order() -> None:
    kept = StarNegatives.none(3)
    first, second = (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(3, 12, dtype=np.float32).reshape(3, 3),
    )
    kept.add(first, np.array([7, 8]))
    kept.add(second, np.array([8, 9, 10]))
    assert len(kept) == 4
    assert kept.examples.tolist() == [7, 8, 9, 10]
    assert kept.features.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    kept.keep(np.array([False, True, False, True]))
    assert kept.features.tolist() == [[3, 4, 5], [9, 10, 11]]
    kept.add(first, np.array([7, 8]))  # the first was forgotten, the second not
    assert kept.examples.tolist() == [8, 10, 7]


def test_many_negatives_move_together_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_ROWS", 3)
    kept = StarNegatives.none(1)
    kept.add(np.arange(20, dtype=np.float32)[:, None], np.arange(20))
    kept.keep(np.arange(20) % 3 != 1)
    assert kept.features[:, 0].tolist() == [n for n in range(20) if n % 3 != 1]
    assert kept.examples.tolist() == [n for n in range(20) if n % 3 != 1]


def test_the_easiest_negatives_are_forgotten_but_no_support_vector() -> None:
    state = Descent.begin([small_star()])
    values = np.zeros(len(small_star().values))
    values[0] = 1.0
    state.stars = [small_star().with_values(values)]
    state.add([negatives(-5, -0.5, -3, -0.99, -2, -4, -6, -7, -8, -9)])
    state.forget_easy([], LIMITS)
    assert sorted(state.negatives[0].features[:, 0].tolist()) == pytest.approx([-4, -3, -2, -0.99, -0.5])
    state.add([negatives(0, 1, 2, 3, 4, 5, start=20)])
    state.forget_easy([], LIMITS)
    assert len(state.negatives[0]) == 8  # all that score more than -1
    one = FitLimits(0.5, 2.0, 10, 0)
    state.forget_easy([], one)
    assert len(state.negatives[0]) == 8


def test_there_is_room_for_nine_negatives_of_each_object_and_for_so_much_memory() -> None:
    state = Descent.begin([small_star()])
    state.add([negatives(*range(9))])
    assert not state.is_full([], LIMITS)
    state.add([negatives(100, start=9)])
    assert state.is_full([], LIMITS)
    assert not state.is_full([positive(1), positive(2)], LIMITS)
    assert state.is_full([positive(1), positive(2)], FitLimits(0.5, 2.0, 1000, 0))


def test_a_round_fits_objects_and_negatives_apart() -> None:
    images = Images([[positive(1)], [positive(1.2)]], [[negatives(-1)], [negatives(-1.2, start=5)]])
    state = Descent.begin([small_star()])
    train_round(state, images, [0, 1], [0, 1], Rounds(2, 3), LIMITS, "test")  # type: ignore[arg-type]
    weight = state.stars[0].values
    assert float(vector(1) @ weight) == pytest.approx(1, abs=0.02)
    assert float(vector(-1) @ weight) == pytest.approx(-1, abs=0.02)
    assert state.done == 1
    assert not state.settled
    assert state.loss == pytest.approx(0, abs=0.02)
    # The second mining brings nothing new, and the round is not the last: two searches of both images.
    assert images.searched == [0, 1, 0, 1]


def test_training_ends_when_objects_are_found_where_they_were() -> None:
    images = Images([[positive(0.5)]], [[negatives(0.4)]])
    state = Descent.begin([small_star()])
    rounds = Rounds(5, 1)
    train_round(state, images, [0], [0], rounds, LIMITS, "test")  # type: ignore[arg-type]
    before = state.stars[0].values
    assert state.loss > 0
    train_round(state, images, [0], [0], rounds, LIMITS, "test")  # type: ignore[arg-type]
    assert state.settled
    assert state.done == 2
    assert np.array_equal(state.stars[0].values, before)


def test_without_objects_nothing_is_fitted() -> None:
    images = Images([[]], [[negatives(1)]])
    state = Descent.begin([small_star()])
    train_round(state, images, [0], [0], Rounds(2, 2), LIMITS, "test")  # type: ignore[arg-type]
    assert state.settled
    assert (state.stars[0].values[:32] == 0).all()


def test_mining_stops_when_it_is_full_and_goes_on_behind() -> None:
    mined = [[negatives(*(start + np.arange(5) / 10), start=10 * start)] for start in range(4)]
    images = Images([[positive(9)]], mined)
    state = Descent.begin([small_star()])
    whole, _ = descent.mine(state, images, [positive(9)], [3, 1, 0, 2], LIMITS, "test")  # type: ignore[arg-type]
    assert not whole
    assert images.searched == [3, 1]
    assert state.next_image == 2
    state.negatives[0].keep(np.zeros(10, bool))
    descent.mine(state, images, [positive(9)], [3, 1, 0, 2], LIMITS, "test")  # type: ignore[arg-type]
    assert images.searched == [3, 1, 0, 2]
    assert state.next_image == 0


def test_the_loss_of_mined_negatives_is_that_of_the_models_as_they_were() -> None:
    star = small_star()
    values = star.values.copy()
    values[0] = 0.5
    images = Images([], [[negatives(1, -1)], [negatives(-5, start=7)]])
    state = Descent.begin([star.with_values(values)])
    whole, loss = descent.mine(state, images, [], [0, 1], LIMITS, "test")  # type: ignore[arg-type]
    assert whole
    assert loss == pytest.approx(0.5 * (1.5 + 0.5 + 0))


def test_a_state_is_written_and_read_again(tmp_path: Path) -> None:
    stars = [random_star(0, (4, 3), 2), random_star(1, (3, 3), 2)]
    state = Descent.begin(stars)
    rows = np.random.default_rng(0).normal(size=(3, len(stars[1].values))).astype(np.float32)
    state.add([Negatives(1, rows, np.array([1, 5, 9]), np.zeros(3))])
    state.done, state.next_image, state.loss, state.settled = 3, 17, 0.125, True
    write_descent(tmp_path / "state.safetensors", state)
    detector = DPMConfig(parts=2, part_size=(3, 2))
    again = read_descent(tmp_path / "state.safetensors", detector)
    assert (again.done, again.next_image, again.loss, again.settled) == (
        3,
        17,
        0.125,
        True,
    )
    for own, other in zip(again.stars, stars, strict=True):
        assert (own.root, own.part, own.mirrored) == (other.root, (3, 2), True)
        assert np.array_equal(own.values, other.values)
        assert np.array_equal(own.anchors, other.anchors)
    assert [len(own) for own in again.negatives] == [0, 3]
    assert np.array_equal(again.negatives[1].features, rows)
    again.add([Negatives(1, rows, np.array([1, 5, 9]), np.zeros(3))])
    assert len(again.negatives[1]) == 3
    again.add([Negatives(1, rows + 1, np.array([1, 5, 9]), np.zeros(3))])
    assert len(again.negatives[1]) == 6


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged, or of another training"):
        read_descent(file, DPMConfig())
