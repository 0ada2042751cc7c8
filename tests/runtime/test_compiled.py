from __future__ import annotations

import threading

import pytest

from detkit.runtime.compiled import run_all


@pytest.mark.parametrize(("num_parts", "num_threads"), [(1, 4), (3, 1), (3, 2)])
def test_every_part_is_done_once(num_parts: int, num_threads: int) -> None:
    seen: list[tuple[int, threading.Thread]] = []
    run_all(lambda part: seen.append((part, threading.current_thread())), iter(range(num_parts)), num_threads)
    assert sorted(part for part, _ in seen) == list(range(num_parts))
    in_caller = {thread is threading.current_thread() for _, thread in seen}
    assert in_caller == {num_parts == 1 or num_threads == 1}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_of_a_part_is_raised(num_threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        run_all(lambda part: 1 // (part - 2), range(4), num_threads)
