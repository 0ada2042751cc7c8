from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch

from detkit.runtime import threads as threads_file
from detkit.runtime.threads import Threads, ThreadTuner, Trial, number_kept, numbers_of_threads

CPU = torch.device("cpu")
Pace = Callable[[int], float]
ALONE: Pace = {4: 0.1, 2: 0.2, 1: 0.4}.__getitem__
BESIDE_ANOTHER: Pace = {4: 2.0, 2: 0.25, 1: 0.4}.__getitem__


class Machine:
    """A clock that units move on, and PyTorch's number of threads."""

    def __init__(self, numbers: tuple[int, ...] = (4, 2, 1)) -> None:
        self.now, self.number = 0.0, 0
        self.seconds: dict[int, float] = dict.fromkeys(numbers, 0.0)
        self.messages: list[str] = []
        self.tuner = ThreadTuner(
            numbers, "steps", tell=self.messages.append, clock=lambda: self.now, set_number=self.set
        )

    def set(self, number: int) -> None:
        self.number = number

    def run(self, seconds: float, pace: Pace, work: Callable[[int], float] = lambda _: 1.0) -> int:
        """Work for so long and return the units done."""
        end, done = self.now + seconds, 0
        while self.now < end:
            amount = work(done)
            with self.tuner.unit(amount):
                taken = amount * pace(self.number)
                self.now += taken
                self.seconds[self.number] += taken
            done += 1
        return done


def test_alone_all_cores_stay_and_trials_cost_a_hundredth() -> None:
    machine = Machine()
    done = machine.run(600, ALONE)
    assert machine.number == 4
    assert done >= 0.98 * 600 / 0.1
    assert machine.messages == ["steps: 4 threads (2 take 2.0 times as long, 1 takes 4.0 times as long)"]


def test_beside_another_program_fewer_are_chosen_at_the_start() -> None:
    machine = Machine()
    done = machine.run(600, BESIDE_ANOTHER)
    assert machine.number == 2
    assert done >= 0.97 * 600 / 0.25
    assert len(machine.messages) == 1


def test_what_begins_later_is_noticed_at_once_and_what_ends_later_in_time() -> None:
    machine = Machine()
    machine.run(15, ALONE)
    before = machine.now
    while machine.number != 2 or not machine.tuner.is_settled:
        machine.run(0.1, BESIDE_ANOTHER)
    assert machine.now - before < 15
    before = machine.now
    while machine.number != 4 or not machine.tuner.is_settled:
        machine.run(0.1, ALONE)
    assert machine.now - before < 600
    assert [line.split(" (")[0] for line in machine.messages] == [
        "steps: 4 threads",
        "steps: 2 threads",
        "steps: 4 threads",
    ]


def test_a_little_faster_is_no_reason_to_change() -> None:
    machine = Machine((2, 1))
    machine.run(300, {2: 0.1, 1: 0.097}.__getitem__)
    assert machine.number == 2


def test_units_may_differ_in_size() -> None:
    machine = Machine((2, 1))
    machine.run(120, {2: 0.1, 1: 0.13}.__getitem__, work=lambda step: 1.0 + 5 * (step % 3))
    assert machine.number == 2
    assert len(machine.messages) == 1


def test_first_units_warm_up() -> None:
    machine, paid = Machine((2, 1)), set[int]()

    def pace(number: int) -> float:
        first = number not in paid
        paid.add(number)
        warm_up = 50.0 if not machine.seconds[1] else 0.6 if first else 0.0
        return warm_up + {2: 0.3, 1: 0.5}[number]

    machine.run(70, pace)
    assert machine.number == 2


def test_single_outliers_decide_nothing() -> None:
    machine = Machine((2, 1))
    units = iter(range(10**6))
    machine.run(15, lambda number: {2: 0.3, 1: 0.5}[number] + (0.5 if next(units) == 2 else 0.0))
    assert machine.number == 2


def test_what_fails_does_not_count() -> None:
    machine = Machine((2, 1))
    with pytest.raises(KeyError), machine.tuner.unit(1.0):
        raise KeyError
    assert machine.run(10, {2: 0.1, 1: 0.2}.__getitem__) > 0


def test_over_times_what_the_caller_does_and_making_what_the_parts_take() -> None:
    machine = Machine((2, 1))

    def made() -> Iterator[int]:
        for part in range(2):
            machine.now += {2: 0.2, 1: 0.1}[machine.number]
            yield part

    for _ in machine.tuner.over(range(20), lambda _: 1.0):
        machine.now += {2: 0.1, 1: 0.2}[machine.number]
    assert machine.number == 2
    machine.tuner = ThreadTuner((2, 1), clock=lambda: machine.now, set_number=machine.set)
    for _ in range(20):
        for _ in machine.tuner.making(made(), 1.0):
            machine.now += {2: 0.1, 1: 9.0}[machine.number]  # the caller's own time
    assert machine.number == 1


def test_a_number_far_behind_has_one_long_unit_and_no_more() -> None:
    machine = Machine((2, 1))
    machine.run(15, {2: 10.0, 1: 0.1}.__getitem__)
    assert machine.seconds[2] == 10.0


@pytest.mark.parametrize("numbers", [(), (3,)])
def test_without_a_choice_nothing_is_tried(numbers: tuple[int, ...]) -> None:
    numbers_set: list[int] = []
    tuner = ThreadTuner(numbers, clock=lambda: 0.0, set_number=numbers_set.append)
    assert tuner.is_settled
    assert list(tuner.over([1, 2], float)) == list(tuner.making([1, 2], 1.0)) == [1, 2]
    assert set(numbers_set) == set(numbers)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads_file, "share_of_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)


@pytest.mark.usefixtures("eight_cores")
def test_what_there_is_to_choose_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert numbers_of_threads(None, CPU, one=False) == (6, 3, 1)
    assert numbers_of_threads(None, CPU, one=True) == (6,)
    assert numbers_of_threads(3, CPU, one=False) == (3,)
    assert numbers_of_threads(None, torch.device("cuda"), one=False) == ()
    monkeypatch.setattr(threads_file, "share_of_cores", lambda: 2)
    assert numbers_of_threads(None, CPU, one=False) == (2, 1)
    monkeypatch.setattr(threads_file, "share_of_cores", lambda: 1)
    assert numbers_of_threads(None, CPU, one=False) == (1,)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert numbers_of_threads(None, CPU, one=False) == numbers_of_threads(3, CPU, one=True) == ()


def test_each_kind_of_work_has_a_tuner_of_its_own() -> None:
    with number_kept():
        threads = Threads((2, 1))
        assert torch.get_num_threads() == 2
        assert threads.of("training") is threads.of("training")
        assert threads.of("training") is not threads.of("detection")
        before = threads.of("training")
        assert threads.anew("training") is not before
        assert threads.of("training") is not before


def test_the_least_of_what_is_measured_with_each_number() -> None:
    with number_kept():
        assert Threads((2, 1)).least(lambda: 10.0 / torch.get_num_threads()) == 5.0
    assert Threads().least(lambda: 3.0) == 3.0


def test_the_number_of_threads_is_left_as_it_was_found() -> None:
    before = torch.get_num_threads()
    with suppress(KeyError), number_kept():
        torch.set_num_threads(before + 1)
        raise KeyError
    assert torch.get_num_threads() == before


def given_up(*blocks: tuple[int, float], first: float = 0.3) -> bool:
    """Whether two threads are, after a block of one and these, of so many seconds for a unit of work."""
    trial = Trial((2, 1), warm_up=False)
    for number, seconds in ((1, first), *blocks):
        trial.add(number, seconds, 1.0)
    return 2 not in trial.paces()


def test_who_is_given_up_early() -> None:
    assert not given_up((2, 0.89))
    assert not given_up((2, 0.92)), "three times as long, but not for a second"
    assert given_up((2, 1.01))
    assert not given_up((2, 0.44), (2, 0.44))
    assert given_up((2, 0.46), (2, 0.46))
    assert not given_up((2, 0.46), (2, 0.44))
    assert given_up((2, 0.46), (1, 0.9), (2, 0.46)), "the best block counts"


def test_the_limits_themselves_are_not_far_behind() -> None:
    assert not given_up((2, 0.75), (2, 0.75), first=0.5)
    assert not given_up((2, 1.5), first=0.5)
    assert given_up((2, 1.0), first=0.25), "a second is long"
    assert given_up((2, 1.0), first=0.2), "a fifth of one is a block"


def test_a_long_block_alone_is_no_reason_to_give_up() -> None:
    trial = Trial((2, 1), warm_up=False)
    for number, seconds in ((1, 1.0), (2, 2.9)):
        trial.add(number, seconds, 1.0)
    assert trial.paces() == {2: 2.9, 1: 1.0}
