"""A comparison of numbers of threads on work that has to be done anyway."""

from __future__ import annotations

import statistics
from typing import ClassVar


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
        return all(len(self._paces[number]) >= self._turns for number in self._running)

    @property
    def _turns(self) -> int:
        return 1 if len(self._running) == 1 else self.BLOCKS

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
