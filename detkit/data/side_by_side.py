"""Does the same thing to many items in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], num_threads: int) -> Iterator[Result]:
    """Yield what `work` returns for each item, in order; a bounded number of results waits.

    Items that are not begun are dropped when the iteration ends early, as by Ctrl-C.

    Args:
        work: called in a thread.
        items: what is to be worked on.
        num_threads: items that are worked on at the same time.

    Example:
        >>> list(side_by_side(abs, [1, -2, 3], num_threads=2))
        [1, 2, 3]
    """
    remaining = iter(items)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="detkit") as pool:
        queue = deque(pool.submit(work, item) for item in islice(remaining, 4 * num_threads))
        try:
            while queue:
                result = queue.popleft().result()
                queue.extend(pool.submit(work, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in queue:
                future.cancel()
