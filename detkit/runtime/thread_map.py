"""Ordered map over items in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(
    work: Callable[[Item], Result], items: Iterable[Item], num_threads: int, *, started: int | None = None
) -> Iterator[Result]:
    """Yield what `work` returns for each item, in order; a bounded number of results waits.

    Items that are not started are dropped when the iteration ends early, as by Ctrl-C.

    Args:
        work: called in a thread.
        items: what is to be worked on; taken one by one, however many there are.
        num_threads: items that are worked on at the same time; 0 works in between, in the calling thread.
        started: items started and not yet yielded, at most; None takes four times as many as threads.

    Example:
        >>> list(map_threads(abs, [1, -2, 3], num_threads=2))
        [1, 2, 3]
    """
    if num_threads == 0:
        yield from map(work, items)
        return
    remaining = iter(items)
    at_once = 4 * num_threads if started is None else started
    with ThreadPoolExecutor(num_threads, thread_name_prefix="detkit") as pool:
        queue = deque(pool.submit(work, item) for item in islice(remaining, at_once))
        try:
            while queue:
                result = queue.popleft().result()
                queue.extend(pool.submit(work, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in queue:
                future.cancel()
