from __future__ import annotations

import os

from detkit.data.loading.worker_status import Diary


def test_the_images_of_dead_processes_are_remembered() -> None:
    diary = Diary(2)
    diary.note(1, 7)
    mine = os.getpid()
    assert diary.images_of(f"DataLoader worker (pid {mine}) is killed by signal: Killed. ") == [7]
    assert diary.images_of(f"DataLoader worker (pid(s) 1, {mine}) exited unexpectedly") == [7]
    assert diary.images_of(f"DataLoader worker (pid {mine + 1}) is killed by signal: Killed. ") == []
    assert diary.images_of("anything else") == []
