"""Number of threads that PyTorch computes with on a CPU, measured while the work continues.

Threads that share one operation wait for the slowest of them. Where another program takes a core, all
wait for the thread that stands in line behind it, and fewer threads are faster, many times over. So work
is done with all cores and with fewer, in turns, and goes on with what was fastest.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar

import torch

from detkit.runtime.cores import share_of_cores

Given = TypeVar("Given")
Clock = Callable[[], float]

FASTER = 0.95  # another number must take less than this share of the time
SLOWER = 1.5  # so many times as long as before: something else has begun to run
REST_S, SLOW_REST_S = 20.0, 2.0  # least time between two trials, and where it has become slow
COST, SLOW_COST = 0.01, 0.2  # share of the time that trials may lose, likewise


def numbers_of_threads(wanted: int | None, device: torch.device, *, one: bool) -> tuple[int, ...]:
    """Return the numbers of threads to choose from, the largest first; none leaves PyTorch's alone.

    `OMP_NUM_THREADS` in the environment has the last word. On other devices than the CPU, which decides
    nothing there, PyTorch's own number does. What was set by `torch.set_num_threads` is a limit.

    Args:
        wanted: the only one; None measures.
        device: where the model is.
        one: whether the number may not change; it is then that of this process's cores.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return ()
    if wanted is not None:
        return (wanted,)
    if device.type != "cpu":
        return ()
    most = min(torch.get_num_threads(), share_of_cores())
    return (most,) if one else tuple(sorted({most, max(1, most // 2), 1}, reverse=True))


@contextmanager
def number_kept() -> Iterator[None]:
    """Leave PyTorch's number of threads as it was found."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Trial:
    """Does blocks of work with each number in turns, and gives up early on those that are far behind.

    A block is as many units as take a fifth of a second, or one that takes longer: what a busy neighbour
    takes away comes in pieces of several hundredths.

    Args:
        numbers: of threads, in the order of their turns.
        warm_up: whether the first unit of all also pays for what is made once, and is left out. What is made
            once for each number falls into one block of three.
    """

    BLOCK_S: ClassVar = 0.2
    BLOCKS: ClassVar = 3
    FAR_BEHIND: ClassVar = 1.5  # so many times the best pace, after two blocks
    FAR_FAR_BEHIND: ClassVar = 3.0  # after a single one that lasted so long:
    LONG_S: ClassVar = 1.0

    def __init__(self, numbers: tuple[int, ...], *, warm_up: bool) -> None:
        self._paces: dict[int, list[float]] = {number: [] for number in numbers}
        self._running = list(numbers)
        self._cold = warm_up
        self._long: set[int] = set()
        self._block = (0.0, 0.0)
        self._all: list[tuple[float, float]] = []

    @property
    def is_done(self) -> bool:
        """Whether all that are left have had their turns, or only one is left."""
        turns = 1 if len(self._running) == 1 else self.BLOCKS
        return all(len(self._paces[number]) >= turns for number in self._running)

    def next_number(self) -> int:
        """Return the number of threads that the next unit is for."""
        return min(self._running, key=lambda number: len(self._paces[number]))

    def add(self, number: int, seconds: float, work: float) -> None:
        """Take in what a unit with so much work took."""
        self._all.append((seconds, work))
        if self._cold:
            self._cold = False
            return
        self._block = (self._block[0] + seconds, self._block[1] + work)
        if self._block[0] >= self.BLOCK_S:
            self._paces[number].append(self._block[0] / self._block[1])
            if self._block[0] >= self.LONG_S:
                self._long.add(number)
            self._block = (0.0, 0.0)
            self._give_up()

    def paces(self) -> dict[int, float]:
        """Return the median seconds for an amount of work, of the numbers that were not given up."""
        return {number: self.pace(number) for number in self._running}

    def pace(self, number: int) -> float:
        """Return the median of the blocks of a number, of one that was given up, too."""
        return statistics.median(self._paces[number])

    def lost(self, pace: float) -> float:
        """Return the seconds by which all took longer than at this pace."""
        return sum(max(0.0, seconds - work * pace) for seconds, work in self._all)

    def _give_up(self) -> None:
        if not all(self._paces.values()):
            return
        best = min(min(self._paces[number]) for number in self._running)
        for number in list(self._running):
            behind = min(self._paces[number]) / best
            again = len(self._paces[number]) > 1
            if behind > self.FAR_BEHIND and (
                again or (behind > self.FAR_FAR_BEHIND and number in self._long)
            ):
                self._running.remove(number)


class ThreadTuner:
    """Finds the number of threads for one kind of work, which comes in units such as training steps.

    It tries all numbers in the beginning and again from time to time, rarely enough that trials lose a
    hundredth of the time, and sooner where units suddenly take longer. What a unit takes is divided by
    its amount of work, so units may differ in size.

    Args:
        numbers: to choose from, the largest first, which others have to beat; of a single one there is no
            trial, and without any PyTorch's own number stays.
        name: of the work, for messages.
        tell: hears the first choice and every other one that follows.
        clock: seconds.
        set_number: tells PyTorch.
    """

    def __init__(
        self,
        numbers: tuple[int, ...] = (),
        name: str = "",
        *,
        tell: Callable[[str], None] = lambda _: None,
        clock: Clock = time.perf_counter,
        set_number: Callable[[int], None] = torch.set_num_threads,
    ) -> None:
        self._numbers, self._name, self._tell = numbers, name, tell
        self._clock, self._set = clock, set_number
        self._trial = Trial(numbers[::-1], warm_up=True) if len(numbers) > 1 else None
        self._number = numbers[0] if numbers else None
        self._told: int | None = None
        self._expected = float("inf")
        self._recent: deque[float] = deque(maxlen=2)
        self._block = (0.0, 0.0)
        self._due = self._due_if_slow = 0.0

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being tried now."""
        return self._trial is None

    @contextmanager
    def unit(self, work: float) -> Iterator[None]:
        """Time what is done inside as one unit with so much work; what fails does not count."""
        begun = self._begin()
        start = self._clock()
        yield
        self._end(begun, self._clock() - start, work)

    def over(self, units: Iterable[Given], work: Callable[[Given], float]) -> Iterator[Given]:
        """Yield what there is to do; the time until the caller asks for the next is a unit."""
        for one in units:
            with self.unit(work(one)):
                yield one

    def making(self, parts: Iterable[Given], work: float) -> Iterator[Given]:
        """Yield parts whose making is one unit in all; what the caller does with them does not count."""
        begun, iterator, seconds = self._begin(), iter(parts), 0.0
        while True:
            start = self._clock()
            try:
                part = next(iterator)
            except StopIteration:
                break
            finally:
                seconds += self._clock() - start
            yield part
        self._end(begun, seconds, work)

    def _begin(self) -> tuple[Trial | None, int | None]:
        trial = self._trial
        number = trial.next_number() if trial else self._number
        if number is not None:
            self._set(number)
        return trial, number

    def _end(self, begun: tuple[Trial | None, int | None], seconds: float, work: float) -> None:
        trial, number = begun
        if trial is not self._trial or number is None or len(self._numbers) == 1 or work <= 0:
            return  # without numbers, or threads of the caller's own share this
        if trial is None:
            self._watch(seconds, work)
            return
        trial.add(number, seconds, work)
        if trial.is_done:
            self._choose(trial)

    def _choose(self, trial: Trial) -> None:
        paces, now = trial.paces(), self._clock()
        best = min(paces, key=lambda number: paces[number])
        assert self._number is not None
        if paces[best] < FASTER * paces.get(self._number, float("inf")):
            self._number = best
        self._expected, lost = paces[self._number], trial.lost(paces[best])
        self._due = now + max(REST_S, lost / COST)
        self._due_if_slow = now + max(SLOW_REST_S, lost / SLOW_COST)
        self._trial, self._block = None, (0.0, 0.0)
        self._recent.clear()
        self._set(self._number)
        if self._told != self._number:
            self._told = self._number
            self._tell(self._sentence(trial))

    def _watch(self, seconds: float, work: float) -> None:
        """Notice that it is time for another trial, or that units take longer than they did."""
        self._block = (self._block[0] + seconds, self._block[1] + work)
        if self._block[0] < Trial.BLOCK_S:
            return
        self._recent.append(self._block[0] / self._block[1])
        self._block = (0.0, 0.0)
        slow = len(self._recent) == 2 and min(self._recent) > SLOWER * self._expected
        if len(self._recent) == 2:
            self._expected = min(self._expected, max(self._recent))
        if self._clock() >= (self._due_if_slow if slow else self._due):
            current_first = sorted(self._numbers, key=lambda number: number != self._number)
            self._trial = Trial(tuple(current_first), warm_up=False)

    def _sentence(self, trial: Trial) -> str:
        assert self._number is not None
        fastest = trial.pace(self._number)
        others = [
            f"{other} {'takes' if other == 1 else 'take'} {trial.pace(other) / fastest:.1f} times as long"
            for other in self._numbers
            if other != self._number
        ]
        threads = "thread" if self._number == 1 else "threads"
        return f"{self._name}: {self._number} {threads} ({', '.join(others)})"


class Threads:
    """The numbers of threads that a run may choose from; each kind of its work finds its own.

    Args:
        numbers: from `numbers_of_threads`.
        tell: hears what was chosen.
    """

    def __init__(self, numbers: tuple[int, ...] = (), tell: Callable[[str], None] = lambda _: None) -> None:
        self._numbers, self._tell = numbers, tell
        self._tuners: dict[str, ThreadTuner] = {}
        if numbers:
            torch.set_num_threads(numbers[0])

    def of(self, name: str) -> ThreadTuner:
        """Return the tuner of a kind of work, the same each time."""
        return self._tuners.get(name) or self.anew(name)

    def anew(self, name: str) -> ThreadTuner:
        """Return a tuner that has tried nothing yet, for work of a kind that may have changed."""
        self._tuners[name] = ThreadTuner(self._numbers, name, tell=self._tell)
        return self._tuners[name]

    def least(self, measure: Callable[[], float]) -> float:
        """Return the least of what is measured with each number."""
        measured = [measure()] if not self._numbers else []
        for number in self._numbers:
            torch.set_num_threads(number)
            measured.append(measure())
        return min(measured)
