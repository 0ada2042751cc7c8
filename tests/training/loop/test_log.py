from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detkit.errors import UserError
from detkit.storage.run_folder import METRICS
from detkit.training.loop import log as log_file
from detkit.training.loop.log import TrainingLog
from detkit.training.loop.milestones import Report


def step(number: int, steps_per_epoch: int = 30, **values: float) -> Report:
    return Report(number, number / steps_per_epoch, "train", 0.1, values or {"head_box": float(number)}, 4)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_lines_are_means_over_steps_and_end_with_the_epoch(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 35, tensorboard=False) as log:
        for number in range(1, 36):
            log(step(number))
        log(Report(35, 35 / 30, "val", 0.1, {"map": 0.5, "odd": float("nan")}, 0))
    train, val = lines(tmp_path)[:-1], lines(tmp_path)[-1]
    assert [line["step"] for line in train] == [20, 30, 35]
    assert [line["head_box"] for line in train] == [10.5, 25.5, 33]
    assert list(train[0]) == ["step", "epoch", "split", "lr", "head_box", "images_per_second"]
    assert train[0]["images_per_second"] > 0
    assert val == {
        "step": 35, "epoch": 35 / 30, "split": "val", "lr": 0.1, "map": 0.5, "odd": None,
        "images_per_second": None,
    }  # fmt: skip
    assert log.mean_rate > 0


def test_resuming_drops_what_came_after_the_checkpoint_and_half_a_line(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 60, tensorboard=False) as log:
        for number in range(1, 61):
            log(step(number))
    with (tmp_path / METRICS).open("ab") as stream:
        stream.write(b'{"step": 3, "spl')
    with TrainingLog(tmp_path, 60, start_step=30, tensorboard=False) as log:
        for number in range(31, 61):
            log(step(number))
    assert [line["step"] for line in lines(tmp_path)] == [20, 30, 50, 60]


@pytest.mark.parametrize("again", [True, False])
def test_a_validation_that_is_repeated_stands_there_once(tmp_path: Path, again: bool) -> None:
    def validation(number: int, value: float) -> Report:
        return Report(number, number / 30, "val", 0.1, {"map": value}, 0)

    with TrainingLog(tmp_path, 60, tensorboard=False) as log:
        for number in range(1, 31):
            log(step(number))
        log(validation(30, 0.5))
        log(step(31))
    with TrainingLog(tmp_path, 60, start_step=30, tensorboard=False) as log:
        if again:
            log(validation(30, 0.25))
        for number in range(31, 61):
            log(step(number))
        log(validation(60, 0.75))
    seen = [(line["step"], line["split"], line.get("map")) for line in lines(tmp_path)]
    train = [(number, "train", None) for number in (20, 30, 50, 60)]
    repeated = (30, "val", 0.25 if again else 0.5)
    assert seen == [*train[:2], repeated, *train[2:], (60, "val", 0.75)]


def test_without_a_terminal_plain_lines_go_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingLog(tmp_path, 60, tensorboard=False) as log:
        for number in range(1, 61):
            log(step(number))
        log(Report(60, 2.0, "val", 0.1, {"map": 0.5}, 0))
    out, err = capsys.readouterr()
    assert out == ""
    said = err.splitlines()
    assert [line.split(":")[0] for line in said] == ["epoch 1, step 30/60", "epoch 2, step 60/60", "epoch 2"]
    assert "head_box 25.500" in said[0]
    assert "images/s" in said[0]
    assert "\x1b" not in err


def test_a_validation_says_few_numbers_and_keeps_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = dict.fromkeys(("map_voc07", "map_voc10", "AP", "AP50", "AP75", "APs", "AR100"), 0.25)
    with TrainingLog(tmp_path, 60, tensorboard=False) as log:
        log(Report(60, 2.0, "val", 0.1, values, 0))
    said = capsys.readouterr().err
    assert said == "epoch 2: map_voc07 0.250  AP 0.250  AP50 0.250  AP75 0.250\n"
    assert values.items() <= json.loads((tmp_path / "metrics.jsonl").read_text()).items()


def test_on_a_terminal_a_line_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with TrainingLog(tmp_path, 30, tensorboard=False) as log:
        for number in range(1, 31):
            log(step(number))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "30/30" in shown
    assert "head_box" in shown


def test_a_report_without_values_counts_for_the_rate_alone(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 2, tensorboard=False) as log:
        log(Report(1, 0.5, "train", 0.1, {}, 4))
        log(step(2, 2, head_box=3.0))
    assert lines(tmp_path)[0]["head_box"] == 3.0


def test_tensorboard_is_asked_for_but_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        TrainingLog(tmp_path, 2, tensorboard=True)


def test_the_rate_is_of_what_the_batches_are_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingLog(tmp_path, 1, tensorboard=False) as log:
        log(Report(1, 1.0, "train", 0.1, {"head_box": 1.0}, 128, "regions"))
    assert " regions/s" in capsys.readouterr().err


def test_the_time_of_a_validation_is_not_the_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with TrainingLog(tmp_path, 40, tensorboard=False) as log:
        for number in range(1, 41):
            now[0] += 2.0  # 4 images each
            log(step(number, 20))
            if number == 20:
                now[0] += 1000.0
                log(Report(20, 1.0, "val", 0.1, {"map": 0.5}, 0))
    rates = [line["images_per_second"] for line in lines(tmp_path)]
    assert rates == [2.0, None, 2.0]


def test_the_mean_rate_is_of_all_images_and_all_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with TrainingLog(tmp_path, 30, tensorboard=False) as log:
        assert log.mean_rate == 0.0
        for number in range(1, 31):
            now[0] += 1.0 if number <= 20 else 4.0
            log(step(number))
            if number == 20:
                assert log.mean_rate == 4.0
    assert [line["images_per_second"] for line in lines(tmp_path)] == [4.0, 1.0]
    assert log.mean_rate == 120 / 60


def test_plain_lines_say_everything_and_come_every_half_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("detkit.training.loop.log._memory", lambda: "1.5 GB")
    with TrainingLog(tmp_path, 160, tensorboard=False) as log:
        for number in range(1, 161):
            now[0] += 0.75 if number <= 60 else 0.5  # 15 seconds for a line of metrics.jsonl, then 10
            log(step(number, 160, head_class=0.5, head_box=0.25))
        log(Report(160, 1.0, "val", 0.1, {"map": 0.5, "ap50": 0.75}, 0))
    values = "head_class 0.500  head_box 0.250  1.5 GB"
    assert capsys.readouterr().err.splitlines() == [
        f"epoch 0.375, step 60/160: 5.33 images/s  {values}",
        f"epoch 0.875, step 140/160: 8 images/s  {values}",
        f"epoch 1, step 160/160: 8 images/s  {values}",
        "epoch 1: map 0.500  ap50 0.750",
    ]


class Board:
    """What TensorBoard is told."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.made, self.scalars, self.is_open = (folder, purge_step), [], True
        boards.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.is_open = False


boards: list[Board] = []


def test_tensorboard_hears_what_the_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    boards.clear()
    with TrainingLog(tmp_path, 40, start_step=20, tensorboard=True) as log:
        for number in range(21, 41):
            log(step(number, 40))
        log(Report(40, 1.0, "val", 0.1, {"map": 0.5}, 0))
    (board,) = boards
    assert board.made == (str(tmp_path), 21)  # what a killed training wrote behind its checkpoint goes
    assert board.scalars == [
        ("train/lr", 0.1, 40), ("train/head_box", 30.5, 40), ("val/lr", 0.1, 40), ("val/map", 0.5, 40),
    ]  # fmt: skip
    assert not board.is_open


@pytest.mark.parametrize(("system", "maximum"), [("linux", 3 << 20), ("darwin", 3 << 30)])
def test_memory_is_told_in_gigabytes(monkeypatch: pytest.MonkeyPatch, system: str, maximum: int) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("resource.getrusage", lambda _: SimpleNamespace(ru_maxrss=maximum))
    assert log_file._memory() == "3.0 GB"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda: 0)  # the training does not use the GPU
    assert log_file._memory() == "3.0 GB"
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda: 1)
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda: 5 << 29)
    assert log_file._memory() == "2.5 GB GPU"
