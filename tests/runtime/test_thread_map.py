from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from detkit.runtime.thread_map import map_threads


def counting(taken: list[int], end: int = 100) -> Iterator[int]:
    for item in range(end):
        taken.append(item)
        yield item


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_results_come_in_order(num_threads: int) -> None:
    assert list(map_threads(lambda item: item**2, range(30), num_threads)) == [item**2 for item in range(30)]
    assert list(map_threads(abs, [], num_threads)) == []


@pytest.mark.parametrize(
    ("num_threads", "started", "taken_first"),
    [(0, None, 1), (1, None, 5), (2, None, 9), (2, 3, 4), (1, 1, 2)],
)
def test_no_more_items_are_taken_than_are_begun(
    num_threads: int, started: int | None, taken_first: int
) -> None:
    """So many are begun at once, and one more when the first is handed over."""
    taken: list[int] = []
    results = map_threads(abs, counting(taken), num_threads, started=started)
    assert not taken
    assert next(results) == 0
    assert taken == list(range(taken_first))
    assert next(results) == 1
    assert len(taken) == taken_first + 1


def test_without_threads_the_caller_does_the_work() -> None:
    assert list(map_threads(lambda _: threading.current_thread(), [1], 0)) == [threading.current_thread()]
    (other,) = map_threads(lambda _: threading.current_thread(), [1], 1)
    assert other.name.startswith("detkit")


def test_what_is_not_begun_is_dropped_when_the_iteration_ends() -> None:
    goes_on, worked = threading.Event(), []

    def work(item: int) -> int:
        worked.append(item)
        if item == 1:
            goes_on.wait(10)
        return item

    results = map_threads(work, range(100), 1, started=50)
    assert next(results) == 0
    threading.Timer(0.05, goes_on.set).start()
    results.close()  # type: ignore[attr-defined]
    assert worked in ([0], [0, 1])


def test_the_error_of_an_item_comes_at_its_place() -> None:
    results = map_threads(lambda item: 1 // item, [1, -1, 0, 1], 2)
    assert [next(results), next(results)] == [1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
