from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.errors import UserError
from detkit.runs.resume import announce_changes, begins_again, goes_on
from detkit.storage.run_folder import CHECKPOINT, CONFIG

NAME = "faster_rcnn_resnet18_synthetic"


def written(folder: Path, *overrides: str) -> Path:
    (folder / CONFIG).write_text(dump_config(load_config(NAME, list(overrides))), encoding="utf-8")
    return folder


def test_the_same_config_has_nothing_to_announce(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce_changes(written(tmp_path), dump_config(load_config(NAME)))
    assert capsys.readouterr().err == ""


def test_changed_keys_are_named_with_both_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = written(tmp_path, "train.epochs=3", "seed=1")
    announce_changes(before, dump_config(load_config(NAME, ["train.epochs=5", "seed=1", "data.workers=0"])))
    said = capsys.readouterr().err.splitlines()
    assert "changed since the training began: train.epochs: 3 -> 5" in said
    assert [line.split(": ")[1] for line in said] == ["data.workers", "train.epochs"]


def test_keys_that_came_or_went_are_named_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without, with_mean = "train.ema=null", "train.ema.decay=0.9"
    announce_changes(written(tmp_path, without), dump_config(load_config(NAME, [with_mean])))
    said = capsys.readouterr().err
    assert "train.ema.decay: None -> 0.9" in said
    announce_changes(written(tmp_path, with_mean), dump_config(load_config(NAME, [without])))
    assert "train.ema.decay: 0.9 -> None" in capsys.readouterr().err


def test_a_folder_without_a_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{CONFIG}: no such file; --resume goes on with a training"):
        announce_changes(tmp_path, "version: 1\n")


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("files", [(), (CONFIG,), (CONFIG, CHECKPOINT)])
def test_only_processes_that_torchrun_started_again_go_on_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: int, files: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
    for name in files:
        (tmp_path / name).touch()
    assert goes_on(tmp_path) == (restarts > 0 and CHECKPOINT in files)
    assert begins_again(tmp_path) == (restarts > 0 and files == (CONFIG,))


def test_without_a_folder_there_is_nothing_to_go_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not goes_on(None)
