from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from detkit.errors import UserError
from detkit.storage.folder_lock import LOCK, locked
from detkit.storage.run_folder import made_folder, results_folder


def break_off(folder: Path, work: str, *files: str) -> None:
    with suppress(KeyboardInterrupt), results_folder(folder, "found", work):
        for name in files:
            (folder / name).write_text(work)
        raise KeyboardInterrupt


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
    break_off(tmp_path / "new" / "wanted", "one")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    break_off(tmp_path / "mine", "one")
    assert not list((tmp_path / "mine").iterdir())
    with pytest.raises(ZeroDivisionError), results_folder(None, "found", "one", tmp_path):
        raise ZeroDivisionError
    assert not (tmp_path / "found").exists()


def test_halves_of_files_and_a_free_lock_do_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".detections.json.part").touch()
    with suppress(ZeroDivisionError), locked(tmp_path) as lock:
        lock.begin("another")
        raise ZeroDivisionError
    with results_folder(tmp_path, "found", "one"):
        pass


@pytest.mark.parametrize("name", [".config", "x.part", ".part", "lock"])
def test_whatever_else_is_there_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError) as told, results_folder(tmp_path, "found", "one"):
        raise AssertionError("not reached")
    assert str(told.value) == (
        f"{tmp_path}: the folder is not empty, and results are never overwritten; name another one"
    )
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("keep", [False, True])
def test_what_was_written_until_an_error_is_kept_only_where_it_is_worth_something(
    tmp_path: Path, keep: bool
) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        with results_folder(out, "found", "one", keep=keep):
            (out / "pictures").mkdir()
            (out / "pictures" / "a.jpg").touch()
            (out / ".b.jpg.part").touch()
            if not keep:
                (out / "link").symlink_to(tmp_path / "elsewhere")
            raise UserError("broken")

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()

    with pytest.raises(UserError, match="broken"):
        fail()
    if not keep:
        assert not out.exists()
        assert (tmp_path / "elsewhere" / "mine").exists()
        return
    assert {file.name for file in out.iterdir()} == {"pictures", ".b.jpg.part", LOCK}
    with pytest.raises(UserError, match="not empty"), results_folder(out, "found", "two"):
        raise AssertionError("not reached")
    with results_folder(out, "found", "one", keep=True):
        assert (out / "pictures" / "a.jpg").exists()


def test_folders_that_were_made_for_nothing_are_removed(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), made_folder(None, "found", tmp_path / "a" / "b") as folder:
        assert folder.is_dir()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with suppress(ZeroDivisionError), made_folder(tmp_path / "a" / "b", "found"):
        (tmp_path / "a" / "mine").touch()
        raise ZeroDivisionError
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["mine"]
    with (
        pytest.raises(UserError, match="mine: cannot make the folder"),
        made_folder(tmp_path / "a" / "mine", ""),
    ):
        raise AssertionError("not reached")
