"""The one way evaluation compiles a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a loop over arrays with Numba, cached on disk and free of the interpreter lock.

    Division follows NumPy: a check that could raise would cost every call its array reference counts.
    Threads are ours (`concurrent.futures`), never Numba's: its own pool dies in forked workers.
    """
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
