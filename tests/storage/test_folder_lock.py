from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detkit.errors import UserError
from detkit.storage.folder_lock import LOCK, locked

CODE = Path(__file__).parents[2]
HOLDS = """
import sys
from pathlib import Path
from detkit.storage.folder_lock import locked

with locked(Path(sys.argv[1])) as lock:
    lock.begin(sys.argv[2])
    print("locked", flush=True)
    sys.stdin.read()
"""
A_PROCESS_ELSEWHERE = json.dumps({"pid": 7, "host": "node12", "work": ""})


@contextmanager
def another_process(folder: Path, work: str = "") -> Iterator[subprocess.Popen[str]]:
    """Give a process that holds the lock of a folder until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder), work],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CODE)},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "locked\n"
        yield process
    process.wait()


def fail(folder: Path, work: str) -> None:
    with locked(folder) as lock:
        lock.begin(work)
        raise ZeroDivisionError


def noted(folder: Path) -> dict[str, object]:
    note: dict[str, object] = json.loads((folder / LOCK).read_bytes())
    return note


def refuses_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_folder_is_made_and_names_who_is_in_it_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with locked(folder) as lock:
        assert lock.work == ""
        assert noted(folder) == {"pid": os.getpid(), "host": socket.gethostname(), "work": ""}
    assert not list(folder.iterdir())


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        with pytest.raises(UserError, match=f"process {process.pid} of {socket.gethostname()} is at work"):
            locked(tmp_path).__enter__()
        assert noted(tmp_path)["pid"] == process.pid  # as it was
    with locked(tmp_path):
        pass


def test_the_same_process_is_refused_and_keeps_its_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(UserError, match="this process is at work there already"):
            locked(tmp_path / "x" / "..").__enter__()
        asks = "import sys; from pathlib import Path; from detkit.storage.folder_lock import locked"
        command = [sys.executable, "-c", f"{asks}\nlocked(Path({str(tmp_path)!r})).__enter__()"]
        asked = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(CODE)}, capture_output=True, text=True, check=False
        )
        assert f"process {os.getpid()} of" in asked.stderr


def test_the_lock_of_a_killed_process_is_taken_over_with_its_work(tmp_path: Path) -> None:
    with another_process(tmp_path, "rows 1 to 9") as process:
        process.kill()
        process.wait()
        assert noted(tmp_path)["pid"] == process.pid
        with locked(tmp_path) as lock:
            assert lock.work == "rows 1 to 9"
            assert noted(tmp_path)["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_number_that_another_process_got_since_does_not_keep_a_folder_locked(tmp_path: Path) -> None:
    note = {"pid": os.getppid(), "host": socket.gethostname(), "work": ""}
    (tmp_path / LOCK).write_text(json.dumps(note))
    with locked(tmp_path):
        pass


def test_work_that_failed_is_known_to_the_next_and_no_process_is_named_any_more(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path, "rows")
    assert noted(tmp_path) == {"work": "rows"}
    with pytest.raises(UserError, match="not mine"), locked(tmp_path) as lock:
        raise UserError(f"{lock.work} are not mine")
    with locked(tmp_path) as lock:
        assert lock.work == "rows"
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_machine_is_explained_and_left(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(A_PROCESS_ELSEWHERE)
    with pytest.raises(UserError, match=rf"process 7 of another machine or container, node12.*{LOCK}"):
        locked(tmp_path).__enter__()
    assert (tmp_path / LOCK).read_text() == A_PROCESS_ELSEWHERE
    (tmp_path / LOCK).unlink()  # as the message says
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("alive", [True, False])
def test_without_locks_of_the_file_system_the_number_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    with another_process(tmp_path, "rows") as process:
        monkeypatch.setattr(fcntl, "lockf", refuses_locks)
        if not alive:
            process.kill()
            process.wait()
            with locked(tmp_path) as lock:
                assert lock.work == "rows"
            return
        with pytest.raises(UserError, match=f"process {process.pid} of"):
            locked(tmp_path).__enter__()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lockf, orphans = fcntl.lockf, []

    def remove_first(descriptor: int, how: int) -> None:
        lockf(descriptor, how)
        if not orphans:
            orphans.append(os.fstat(descriptor).st_ino)
            (tmp_path / LOCK).unlink()

    monkeypatch.setattr(fcntl, "lockf", remove_first)
    with locked(tmp_path):
        assert noted(tmp_path)["pid"] == os.getpid()
    assert orphans


def test_the_lock_of_whoever_came_after_a_removed_one_is_left(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text(A_PROCESS_ELSEWHERE)
    assert (tmp_path / LOCK).read_text() == A_PROCESS_ELSEWHERE


@pytest.mark.parametrize("content", ["my notes", "[1]", '{"pid": "x"}', '{"pid": [1]}', "[" * 4000])
def test_a_file_of_that_name_that_is_no_lock_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content)
    with pytest.raises(UserError, match="not a lock"):
        locked(tmp_path).__enter__()
    assert (tmp_path / LOCK).read_text() == content


def test_what_is_no_file_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("my notes")
    links = [lambda place, to=to: place.symlink_to(tmp_path / to) for to in ("notes", "missing")]
    for number, make in enumerate([*links, os.mkfifo, Path.mkdir]):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / LOCK)
        with pytest.raises(UserError, match=LOCK):
            locked(folder).__enter__()
    assert (tmp_path / "notes").read_text() == "my notes"
    assert not (tmp_path / "missing").exists()


def test_an_empty_lock_is_that_of_a_process_killed_before_it_wrote(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    with locked(tmp_path) as lock:
        assert lock.work == ""


def test_a_name_in_a_lock_is_shown_without_its_escapes(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"pid": 7, "host": "\x1b[31mred"}))
    with pytest.raises(UserError, match=r"\\x1b\[31mred"):
        locked(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"file/a/{LOCK}: cannot be made"):
        locked(tmp_path / "file" / "a").__enter__()


@pytest.mark.parametrize("pid", [0, -1, "own", 1 << 70])
def test_without_locks_a_number_that_is_none_of_another_process_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int | str
) -> None:
    monkeypatch.setattr(fcntl, "lockf", refuses_locks)
    note = {"pid": os.getpid() if pid == "own" else pid, "host": socket.gethostname(), "work": "rows"}
    (tmp_path / LOCK).write_text(json.dumps(note))
    with locked(tmp_path) as lock:
        assert lock.work == "rows"


def test_without_locks_a_process_of_another_user_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_users(pid: int, signal: int) -> None:
        assert (pid, signal) == (7, 0)
        raise PermissionError

    monkeypatch.setattr(fcntl, "lockf", refuses_locks)
    monkeypatch.setattr(os, "kill", another_users)
    host = socket.gethostname()
    (tmp_path / LOCK).write_text(json.dumps({"pid": 7, "host": host, "work": ""}))
    with pytest.raises(UserError) as told:
        locked(tmp_path).__enter__()
    assert str(told.value) == (
        f"{tmp_path}: process 7 of {host} is at work there; wait until it ends, or name another folder"
    )
