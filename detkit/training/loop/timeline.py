"""Place of a step among the epochs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Timeline:
    """The steps of every epoch; epochs can differ in length, because rare images are repeated by chance.

    Args:
        steps: optimizer steps of each epoch, at least one each.

    Example:
        >>> timeline = Timeline([10, 12])
        >>> timeline.place(15), timeline.epoch(16), timeline.step(1.5)
        ((1, 5), 1.5, 16.0)
    """

    def __init__(self, steps: Sequence[int]) -> None:
        assert steps
        assert min(steps) >= 1
        self.steps = tuple(steps)
        self._ends = tuple(accumulate(steps, initial=0))

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self._ends[-1]

    def place(self, step: int) -> tuple[int, int]:
        """Return the epoch that a step belongs to, and the steps done in it before."""
        epoch = bisect_right(self._ends, step) - 1
        return epoch, step - self._ends[epoch]

    def epoch(self, step: int) -> float:
        """Return the epochs done after so many steps, as a fraction."""
        epoch, done = self.place(step)
        return epoch + (done / self.steps[epoch] if done else 0.0)

    def step(self, epoch: float) -> float:
        """Return the steps done after so many epochs; fractions are allowed."""
        whole = min(int(epoch), len(self.steps))
        length = self.steps[min(whole, len(self.steps) - 1)]
        return self._ends[whole] + (epoch - whole) * length
