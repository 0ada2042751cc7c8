from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from detkit.errors import UserError
from detkit.storage.folder_lock import LOCK, locked
from detkit.storage.run_folder import new_folder, results_folder


def break_off(folder: Path, work: str, *files: str) -> None:
    with suppress(ZeroDivisionError), results_folder(folder, "found", work):
        for name in files:
            (folder / name).write_text(work)
        raise ZeroDivisionError


def test_folders_without_a_wish_are_numbered(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        with results_folder(None, "found", "work", tmp_path) as folder:
            names.append(folder.name)
    assert names == ["found", "found-2", "found-3"]


def test_the_folder_is_locked_as_long_as_it_is_written(tmp_path: Path) -> None:
    with (
        results_folder(tmp_path, "found", "one"),
        pytest.raises(UserError, match="at work there"),
        results_folder(tmp_path, "found", "one"),
    ):
        raise AssertionError("not reached")
    assert not list(tmp_path.iterdir())


def test_work_that_was_broken_off_may_be_done_anew_by_nobody_else(tmp_path: Path) -> None:
    break_off(tmp_path, "one", "a.xml")
    for _ in range(2):  # being refused does not make it theirs
        with pytest.raises(UserError, match="not empty"), results_folder(tmp_path, "found", "two"):
            raise AssertionError("not reached")
    break_off(tmp_path, "one", "b.xml")
    with results_folder(tmp_path, "found", "one") as folder:
        assert sorted(file.name for file in folder.glob("*.xml")) == ["a.xml", "b.xml"]
    assert not (tmp_path / LOCK).exists()


def test_finished_work_is_not_done_anew(tmp_path: Path) -> None:
    with results_folder(tmp_path, "found", "one"):
        (tmp_path / "a.xml").write_text("one")
    with pytest.raises(UserError, match="not empty"), results_folder(tmp_path, "found", "one"):
        raise AssertionError("not reached")
    assert [file.name for file in tmp_path.iterdir()] == ["a.xml"]


def test_work_that_failed_before_it_wrote_leaves_a_free_folder_or_none(tmp_path: Path) -> None:
    break_off(tmp_path / "wanted", "one")
    assert not list((tmp_path / "wanted").iterdir())
    with pytest.raises(ZeroDivisionError), results_folder(None, "found", "one", tmp_path):
        raise ZeroDivisionError
    assert not (tmp_path / "found").exists()


def test_halves_of_files_and_a_free_lock_do_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".detections.json.part").touch()
    with suppress(ZeroDivisionError), locked(tmp_path) as lock:
        lock.begin("another")
        raise ZeroDivisionError
    assert new_folder(tmp_path, "found") == tmp_path
    with results_folder(tmp_path, "found", "one"):
        pass


@pytest.mark.parametrize("name", [".config", "x.part", ".part", "lock"])
def test_whatever_else_is_there_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="not empty"), results_folder(tmp_path, "found", "one"):
        raise AssertionError("not reached")
    with pytest.raises(UserError, match="not empty"):
        new_folder(tmp_path, "found")
    assert [file.name for file in tmp_path.iterdir()] == [name]
