from __future__ import annotations

import re
from typing import Any

import pytest

from detkit.runtime.progress import ProgressLine, say


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_without_a_terminal_only_what_is_said_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("features", 3) as line:
        for done in range(1, 4):
            line(done)
        say("one", "[two]")
    assert not line.is_visible
    assert capsys.readouterr().err == "one\n[two]\n"


def test_a_log_gets_a_line_now_and_then_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("detkit.runtime.progress.time.monotonic", lambda: now[0])

    def work(**settings: Any) -> str:
        with ProgressLine("proposals", 4_000, 1_000, **settings) as line:
            for done in range(1_000, 1_300, 10):
                now[0] += 5.0
                line(done + 10)
        return capsys.readouterr().err

    said = work().splitlines()
    assert len(said) == 150 // 30
    assert said[0] == "proposals: 1,060 of 4,000 images, 2 images/s, 0:24:30 left"
    assert work(unit="steps").splitlines()[-1] == "proposals: 1,300 of 4,000 steps, 2 steps/s, 0:22:30 left"
    assert work(logs=False) == ""
    monkeypatch.setenv("RANK", "1")
    assert work() == ""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("detkit.runtime.progress._BETWEEN_REFRESHES_S", 0.0)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_count_and_rate_and_vanishes(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("features", 3) as line:
        line(1)
        say("[in between]")
        line(2, state="[loss] 1")
    err = capsys.readouterr().err
    for text in ("features", "1/3", "2/3", "images/s", "[in between]", "[loss] 1"):
        assert text in plain(err), text
    assert err.rstrip().endswith("\x1b[2K")  # the line is erased
    say("after")
    assert capsys.readouterr().err == "after\n"


@pytest.mark.usefixtures("terminal")
def test_a_line_within_another_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("training", 2, unit="steps") as outer:
        outer(1)
        with ProgressLine("features", 5) as inner:
            inner(3)
        outer(2)
    shown = plain(capsys.readouterr().err)
    assert "2/2" in shown
    assert "features" not in shown


@pytest.mark.usefixtures("terminal")
def test_the_first_call_may_tell_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("predictions") as line:
        line(1, 4)
    assert "1/4" in plain(capsys.readouterr().err)


@pytest.mark.usefixtures("terminal")
def test_an_error_leaves_the_terminal_free() -> None:
    def work() -> None:
        with ProgressLine("features", 3) as line:
            line(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    with ProgressLine("features", 3) as again:
        assert again.is_visible


@pytest.mark.usefixtures("terminal")
def test_what_a_name_holds_is_shown_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    odd = "\x1b[31mred\x07 \ud800 " + "x" * 100_000
    say(odd)
    with ProgressLine("features", 3) as line:
        line(1)
        before = capsys.readouterr().err
        say(odd)
    first, second = before.split("features")[0], capsys.readouterr().err
    for said in (first, second):
        assert "\\u001b[31mred\\u0007 \\ud800 xxx" in said
        assert "\x1b[31m" not in said
        assert len(said) < 1000


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_still_shows_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("detkit.runtime.progress._BETWEEN_REFRESHES_S", 0.0)
    with ProgressLine("training", 160, unit="steps") as line:
        losses = "rpn_objectness 0.188  rpn_box 0.077  head_class 0.456  head_box 0.354"
        line(41, state=f"6.07 images/s  {losses}  1.2 GB")
    said = plain(capsys.readouterr().err)
    assert "training" in said
    assert "41/160" in said
    assert "steps/s" in said
    assert "6.07 im" in said or width == 80


def test_a_log_tells_no_time_left_where_nothing_says_how_long_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("detkit.runtime.progress.time.monotonic", lambda: now[0])
    with ProgressLine("predictions") as line:
        now[0] += 29.0
        line(29)
        now[0] += 1.0
        line(30)
        now[0] += 30.0
        line(0, 10_000)  # nothing is done, and who knows
        now[0] += 3540.0
        line(720)
        line(1_440, 39_600)
    assert capsys.readouterr().err == (
        "predictions: 30 images, 1 images/s\n"
        "predictions: 0 of 10,000 images, 0 images/s\n"
        "predictions: 720 images, 0.2 images/s\n"
    )
    with ProgressLine("predictions") as line:
        now[0] += 3600.0
        line(1_440, 39_600)
    assert capsys.readouterr().err == "predictions: 1,440 of 39,600 images, 0.4 images/s, 26:30:00 left\n"


def test_a_terminal_is_drawn_on_ten_times_a_second_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    now = [100.0]
    monkeypatch.setattr("detkit.runtime.progress.time.monotonic", lambda: now[0])
    with ProgressLine("features", 4, 1) as line:
        drawn = []
        for done, later in ((1, 0.0), (2, 0.25), (3, 0.05), (4, 0.0)):
            capsys.readouterr()
            now[0] += later
            line(done)
            drawn.append(plain(capsys.readouterr().err))
    assert "4 images/s" in drawn[1]  # one in a quarter of a second; another was done before
    assert drawn[2] == ""
    assert "4/4" in drawn[3]
