from __future__ import annotations

import os
import signal
import threading

import pytest

from detkit.training.loop.interrupt import Interrupt


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on fork
def test_a_forked_worker_leaves_ctrl_c_to_the_main_process_and_obeys_sigterm() -> None:
    with Interrupt():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_outside_the_main_thread_it_does_nothing() -> None:
    seen: list[bool] = []

    def work() -> None:
        with Interrupt() as interrupt:
            seen.append(interrupt.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_request_from_before_breaks_off_what_may_be_broken_off() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt), interrupt.immediate():
            raise AssertionError("not reached")
