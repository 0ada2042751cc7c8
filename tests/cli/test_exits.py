"""What ends a command, and the exit status it gives."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from detkit.__main__ import main
from detkit.cli import config as config_command
from detkit.cli.exits import exit_status
from detkit.errors import NonFiniteLossError, PeerStoppedError, UserError
from detkit.version import VERSION


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command that meets an error."""

    def raises(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(config_command, "deliver", raises)
    return main(["config", "explain"])


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("a.yaml:3: wrong"), 2, "error: a.yaml:3: wrong\n"),
        (NonFiniteLossError("loss rpn_box is nan"), 3, "error: loss rpn_box is nan\n"),
        (PeerStoppedError("process 1 stopped"), 130, "process 1 stopped\n"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C\n"),
        (KeyboardInterrupt("stopped after step 3; go on so"), 130, "stopped after step 3; go on so\n"),
        (
            MemoryError(),
            2,
            "error: out of memory: lower train.batch_size (train.reference_batch keeps the learning rate in "
            "step), work a batch off in parts (train.accumulate), or make the images smaller (data.resize)\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.pt"),
            2,
            "error: x.pt: No space left on device\n",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x" * 10**5),
            2,
            "error: " + "x" * 127 + "...(99,843 more)..." + "x" * 30 + ": File name too long\n",
        ),
    ],
)
def test_messages_are_short_and_go_to_stderr(
    error: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fail_with(error, monkeypatch) == status
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(errno.EIO, "broken"), KeyError("a")]
)
def test_our_own_errors_apologise_and_keep_the_traceback_in_a_file(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fail_with(error, monkeypatch) == 70
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "error in detkit, not in your input" in said
    found = re.search(r"details are in (\S+);", said)
    assert found is not None
    assert "Traceback" in Path(found[1]).read_text(encoding="utf-8")
    assert type(error).__name__ in Path(found[1]).read_text(encoding="utf-8")


def test_debugging_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DETKIT_DEBUG", "1")
    assert fail_with(UserError("wrong"), monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith("error: wrong\n")


@pytest.mark.parametrize(
    "arguments",
    [["trian"], ["train"], ["train", "a.yaml", "--lr", "3"], ["config", "explain", "a", "b"],
     ["score", "--gt", "a", "--dt", "b", "--metric", "x"], ["config", "show"],
     ["predict", "w", "x", "--tile", "0"]],
)  # fmt: skip
def test_a_wrong_command_line_is_wrong_input(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert "Usage: detkit" in said


def test_nobody_reads_the_output_any_more() -> None:
    """The reader of the pipe is gone before the first byte: no traceback, not even at interpreter exit."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "detkit", "config", "schema"],
        stdout=write_end, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert done.returncode == 141
    assert done.stderr == ""


def test_nobody_reads_what_was_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short output is written when the command is over, and the status is the same."""

    def flush() -> None:
        raise BrokenPipeError

    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(flush=flush))
        monkeypatch.setattr(sys, "__stdout__", nowhere)
        with pytest.raises(typer.Exit) as ended, exit_status():
            pass
    assert ended.value.exit_code == 141


def test_errors_name_things_so_that_a_terminal_shows_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(UserError("\x1b[31m\ud800\nerror: a", "next " + "x" * 5_000_000), monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: \\u001b[31m\\ud800\\u000aerror: a\nnext xxx")
    assert len(said) < 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "{}"],
        ["init", "{}", "-o", "{}.yaml"],
        ["predict", "{}.safetensors", "{}.jpg"],
        ["propose", "sliding_window", "{}.jpg", "--strict", "-o", "{}.safetensors"],
        ["report", "{}"],
    ],
)
def test_the_name_of_a_file_ends_no_line_of_a_message(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{tmp_path}/a\nerror: b\r\x1b[2J"
    (tmp_path / "a\nerror: b\r\x1b[2J.jpg").write_text("no image")
    assert main([argument.replace("{}", name) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "a\\u000aerror: b\\u000d\\u001b[2J" in said
    assert sum(line.startswith("error: ") for line in said.splitlines()) == 1


@pytest.mark.parametrize("command", ["predict", "check"])
def test_names_that_no_file_can_have_are_wrong_input(command: str, tmp_path: Path) -> None:
    assert main([command, "x" * 300, *([str(tmp_path)] if command == "predict" else [])]) == 2


def test_where_no_file_can_be_made_the_traceback_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    assert fail_with(ZeroDivisionError("by 0"), monkeypatch) == 70
    said = capsys.readouterr().err
    assert said.startswith("error in detkit, not in your input: ZeroDivisionError: by 0\ndetkit ")
    assert said.endswith("ZeroDivisionError: by 0\n")
    assert "Sorry" not in said


def test_the_version_is_printed_and_the_commands_are_listed_in_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"detkit {VERSION}\n"
    assert main(["--help"]) == 0
    names = re.findall(r"^  (\w[\w-]*)  +[A-Z]", capsys.readouterr().out, flags=re.MULTILINE)
    assert names == [
        *("demo", "init", "check", "show-data", "plan", "train", "eval", "predict"),
        *("serve", "propose", "recall", "score", "compress", "import", "export", "convert", "compare"),
        *("report", "explain", "trace", "imagine", "embed", "lineage", "config"),
    ]


def test_the_place_in_a_yaml_file_is_pointed_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\ndetector:\n  type faster_rcnn\n  x: 1\n")
    assert main(["check", str(tmp_path / "a.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"error: {tmp_path}/a.yaml:4:4: not valid YAML: ")
    assert [line.strip() for line in said[1:]] == ["x: 1", "^"]
