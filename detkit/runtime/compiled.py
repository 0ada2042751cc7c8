"""Compiled loops over arrays, and the threads that run them side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a loop over arrays with Numba, cached on disk and free of the interpreter lock."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


def run_all(work: Callable[[int], object], parts: Iterable[int], num_threads: int) -> None:
    """Call `work` with every part, several at a time, and return when all are done.

    Args:
        work: what to do with one part; it should spend its time in compiled loops, and what it writes
            must not depend on the order of the parts.
        parts: numbers of the parts.
        num_threads: how many at a time; 1 stays in the calling thread.

    Example:
        >>> done = [0, 0, 0]
        >>> run_all(lambda part: done.__setitem__(part, part + 1), range(3), num_threads=2)
        >>> done
        [1, 2, 3]
    """
    parts = list(parts)
    if num_threads == 1 or len(parts) <= 1:
        for part in parts:
            work(part)
        return
    for _ in _pool(num_threads).map(work, parts):
        pass  # raises what a thread raised


@lru_cache(maxsize=1)
def _pool(num_threads: int) -> ThreadPoolExecutor:
    # Not Numba's own threads: their pool does not survive a fork, and data loaders fork.
    return ThreadPoolExecutor(num_threads, thread_name_prefix="detkit-loops")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)
