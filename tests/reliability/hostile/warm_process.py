"""Commands of detkit in children of one warm process, within bounds of time, memory and disk.

Starting Python and PyTorch takes a second, a fork a few milliseconds.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

LIMIT_S = 20.0
LIMIT_BYTES = 2 << 30
FILE_BYTES = 64 << 20
TIMED_OUT = -1000
USES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status; minus the signal that ended it; TIMED_OUT.
        seconds: of processor time, which a busy machine does not stretch.
        memory_bytes: the most that it had resident.
        said: standard output and standard error.
    """

    status: int
    seconds: float
    memory_bytes: int
    said: bytes


class WarmProcess:
    """A process that has imported everything and forks for each command."""

    def __enter__(self) -> WarmProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.hostile.warm_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, folder: Path, arguments: Sequence[str], dies_at: int = 0) -> Ended:
        """Run one command in a folder, with what it keeps in `cache` and what it says in `said`.

        Args:
            folder: the current folder of the command.
            arguments: those of detkit.
            dies_at: the process kills itself before the so manyth use of a file in the folder; 0 lets it live
                and has it write what it used, as a JSON list, into `uses`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(folder), list(arguments), dies_at]), file=self._process.stdin, flush=True)
        status, seconds, memory = json.loads(self._process.stdout.readline())
        return Ended(status, seconds, memory, (folder / "said").read_bytes())


def _serve() -> None:
    from detkit.__main__ import main

    warm_up(main)
    for line in sys.stdin:
        folder, arguments, dies_at = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(folder)
            uses = _Uses(folder, dies_at)
            status = 70
            try:
                status = main(arguments)
                uses.note()
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status & 0xFF)
        print(json.dumps(_wait(child)), flush=True)


def warm_up(main: object) -> None:
    """Import what the commands import when they are needed."""
    import cv2  # noqa: F401
    import scipy.io  # noqa: F401
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    import detkit.workflows

    for file in Path(detkit.workflows.__file__).parent.glob("*.py"):
        __import__(f"detkit.workflows.{file.stem}")


def _become(folder: str) -> None:
    os.setsid()
    os.chdir(folder)
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(number, stream)
    os.environ["DETKIT_CACHE"] = str(Path(folder) / "cache")
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    data = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
    most = int(data.split()[1]) * 1024 + 2 * LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT_S), int(LIMIT_S) + 5))


class _Uses:
    """Counts what the process does with files of a folder, and kills it at one of them."""

    def __init__(self, folder: str, dies_at: int) -> None:
        self._folder, self._dies_at, self._files = folder, dies_at, list[str]()
        sys.addaudithook(self._hear)

    def note(self) -> None:
        """Write down what was used."""
        text = json.dumps(self._files)
        Path(self._folder, "uses").write_text(text)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in USES or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        file = Path(os.fsdecode(arguments[0])).absolute()
        if file.is_relative_to(self._folder):
            self._files.append(str(file.relative_to(self._folder)))
            if len(self._files) == self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _wait(child: int) -> tuple[int, float, int]:
    end = time.monotonic() + 3 * LIMIT_S  # what waits uses no processor; a busy machine gives less of it
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return TIMED_OUT, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


if __name__ == "__main__":
    _serve()
