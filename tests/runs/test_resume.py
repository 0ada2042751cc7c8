from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.errors import UserError
from detkit.runs.resume import announce_changes, skipped_before, training_folder
from detkit.storage.run_folder import CHECKPOINT, CONFIG, MADE_WITH, METRICS
from detkit.training.staged.stages import FOLDER as STAGES

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


def opened(folder: Path, *overrides: str, resume: bool = False) -> tuple[Path, bool]:
    text = dump_config(load_config(NAME, list(overrides)))
    with training_folder(folder, "train", text, resume=resume) as (given, resumed):
        assert (given / CONFIG).read_text(encoding="utf-8") == text
        with pytest.raises(UserError, match="at work there"):
            training_folder(folder, "train", text, resume=True).__enter__()
        return given, resumed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "data.classes=[ring, disc, square, star, triangle]",
            r"data\.classes: \[disc, .*not \[ring, ",
        ),
        ("detector.type=cascade_rcnn", r"detector\.type: faster_rcnn, and not cascade_rcnn"),
        ("train.type=alternating", r"train\.type: gradient, and not alternating"),
    ],
)
def test_another_training_is_refused_in_a_folder_and_changes_nothing(
    tmp_path: Path, change: str, said: str
) -> None:
    before = (written(tmp_path) / CONFIG).read_bytes()
    (tmp_path / CHECKPOINT).touch()
    key, _, value = change.partition("=")
    config = yaml.safe_load(before)
    part, _, last = key.rpartition(".")
    config[part][last] = yaml.safe_load(value)
    with (
        pytest.raises(UserError, match=rf"its training has {said}.*--from"),
        training_folder(tmp_path, "train", yaml.safe_dump(config), resume=True),
    ):
        raise AssertionError("it goes on")
    assert (tmp_path / CONFIG).read_bytes() == before


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_folder_without_a_training_is_neither_resumed_nor_made(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(UserError, match=rf"{CONFIG}: no such file; --resume goes on with a training"):
            opened(folder, resume=True)
    assert not names(tmp_path)


def test_without_a_wish_the_folder_is_a_new_one_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "train-2"):
        with training_folder(None, "train", "version: 1\n", resume=False) as given:
            assert given == (Path("runs") / name, False)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", [(), (METRICS,), (METRICS, "events.out.tfevents.1.host"), ("nonfinite.pt",)])
def test_a_training_that_left_no_checkpoint_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: tuple[str, ...], resume: bool
) -> None:
    written(tmp_path, "seed=3")
    for name in (*left, ".last.pt.part", ".config.yaml.part"):
        (tmp_path / name).touch()
    assert opened(tmp_path, "seed=3", resume=resume) == (tmp_path, False)
    assert "stopped before its first checkpoint; it begins anew" in capsys.readouterr().err


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", ["model.safetensors", "report.html", "detections.json", "notes.txt", "mine"])
def test_nothing_begins_anew_among_other_files(tmp_path: Path, left: str, resume: bool) -> None:
    written(tmp_path)
    (tmp_path / left).touch()
    with pytest.raises(UserError, match="name a new folder" if resume else "name another one$"):
        opened(tmp_path, resume=resume)
    assert names(tmp_path) == {CONFIG, left}


@pytest.mark.parametrize("resume", [False, True])
def test_nothing_begins_anew_with_another_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], resume: bool
) -> None:
    before = (written(tmp_path, "seed=3") / CONFIG).read_bytes()
    with pytest.raises(UserError, match="name a new folder" if resume else "name another one$"):
        opened(tmp_path, "seed=4", resume=resume)
    assert ("seed: 3 -> 4" in capsys.readouterr().err) == resume
    assert (tmp_path / CONFIG).read_bytes() == before


@pytest.mark.parametrize("kept", [CHECKPOINT, STAGES])
def test_what_left_a_checkpoint_or_stage_is_resumed_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: str
) -> None:
    written(tmp_path, "seed=3")
    (tmp_path / kept).touch()
    with pytest.raises(UserError, match=r"not empty.*or add --resume to go on"):
        opened(tmp_path, "seed=3")
    assert opened(tmp_path, "seed=4", resume=True) == (tmp_path, True)
    assert "seed: 3 -> 4" in capsys.readouterr().err
    assert names(tmp_path) == {CONFIG, kept}


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("kept", [CHECKPOINT, STAGES])
def test_processes_that_torchrun_started_again_resume_their_own_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: int, kept: str
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
    written(tmp_path, "seed=3")
    (tmp_path / kept).touch()
    with pytest.raises(UserError, match="not empty"):
        opened(tmp_path, "seed=4")
    if restarts:
        assert opened(tmp_path, "seed=3") == (tmp_path, True)
    else:
        with pytest.raises(UserError, match="not empty"):
            opened(tmp_path, "seed=3")


def test_a_config_that_cannot_be_resumed_does_not_replace_that_of_the_training(tmp_path: Path) -> None:
    before = (written(tmp_path, "seed=3") / CONFIG).read_bytes()
    (tmp_path / CHECKPOINT).touch()
    text = dump_config(load_config(NAME, ["seed=4"]))
    for error in (UserError, KeyboardInterrupt):  # Ctrl-C is no mistake
        with suppress(error), training_folder(tmp_path, "train", text, resume=True):
            assert (tmp_path / CONFIG).read_text(encoding="utf-8") == text
            raise error
        assert ((tmp_path / CONFIG).read_bytes() == before) == (error is UserError)


def test_a_training_that_ended_leaves_no_lock_however_it_ended(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        training_folder(tmp_path, "train", "version: 1\n", resume=False),
    ):
        raise KeyboardInterrupt
    assert names(tmp_path) == {CONFIG, MADE_WITH}


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ((METRICS, "events.out.tfevents.1.host", "skipped_images.json"), False),
        ((CHECKPOINT,), True),
        (("nonfinite.pt",), True),
        ((f"{STAGES}/a.part/model.safetensors",), True),
        ((f"{STAGES}/",), False),
    ],
)
def test_a_training_that_failed_leaves_only_what_is_worth_something(
    tmp_path: Path, left: tuple[str, ...], kept: bool
) -> None:
    out = tmp_path / "runs" / "out"

    def fail() -> None:
        with training_folder(out, "train", "version: 1\n", resume=False):
            for name in left:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).mkdir() if name.endswith("/") else (out / name).touch()
            raise UserError("wrong")

    with pytest.raises(UserError, match="wrong"):
        fail()
    assert (tmp_path / "runs").exists() == kept
    if kept:
        assert (out / CONFIG).is_file()
        assert all((out / name).exists() for name in left)


@pytest.mark.parametrize(("count", "last"), [(100, None), (101, 1), (105, 5)])
def test_of_a_config_that_has_nothing_in_common_a_hundred_keys_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, last: int | None
) -> None:
    (tmp_path / CONFIG).write_text("\n".join(f"key{number:03}: {'x' * 300}" for number in range(count)))
    announce_changes(tmp_path, "{}")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"changed since the training began: key000: {'x' * 200} -> None"
    assert said[99] == f"changed since the training began: key099: {'x' * 200} -> None"
    assert said[100:] == ([] if last is None else [f"... and {last} other keys"])


@pytest.mark.parametrize("content", ["nothing", "[1]", "{}x", '[{"image": "a"}]', "3"])
def test_a_damaged_list_of_what_was_left_out_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "skipped_images.json"
    assert skipped_before(None) == skipped_before(tmp_path) == []
    file.write_text('[{"image": "a.jpg", "error": "cut short", "more": 1}]')
    assert skipped_before(tmp_path) == [{"image": "a.jpg", "error": "cut short"}]
    file.write_text(content)
    with pytest.raises(UserError) as told:
        skipped_before(tmp_path)
    assert str(told.value) == f"{file}: not a list of images that a training left out; remove it"
