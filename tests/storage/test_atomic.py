from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from safetensors import SafetensorError

from detkit.errors import UserError
from detkit.storage.atomic import durable_file, write_atomically


def test_a_write_that_fails_in_between_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.bin"

    def write(content: bytes, error: Exception | None = None) -> None:
        with durable_file(file) as part:
            part.write_bytes(content)
            if error:
                raise error

    write(b"old")
    with pytest.raises(ZeroDivisionError):
        write(b"half", ZeroDivisionError())
    assert [path.name for path in file.parent.iterdir()] == ["b.bin"]  # and no half of one
    with pytest.raises(UserError, match=r"No space left.*unharmed"):
        write(b"half", OSError(28, "No space left on device"))
    assert [path.name for path in file.parent.iterdir()] == ["b.bin"], "what was written half is gone"
    with file.open("rb") as reader:
        write(b"new")
        assert reader.read() == b"old"  # a reader keeps what it opened
    assert file.read_bytes() == b"new"
    assert [path.name for path in file.parent.iterdir()] == ["b.bin"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with (
        pytest.raises(UserError, match=r"a/b\.bin: could not be written"),
        durable_file(tmp_path / "a" / "b.bin"),
    ):
        raise AssertionError("not reached")


@pytest.mark.parametrize("sync", [True, False])
def test_content_is_written_whole_and_text_is_utf8(tmp_path: Path, sync: bool) -> None:
    write_atomically(tmp_path / "a" / "text", "grün", sync=sync)
    write_atomically(tmp_path / "a" / "text", "größer", sync=sync)
    assert (tmp_path / "a" / "text").read_bytes().decode() == "größer"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["text"]


def test_names_as_long_as_a_file_can_have(tmp_path: Path) -> None:
    file = tmp_path / ("é" * 125 + ".json")  # 255 bytes
    for text in ("one", "two"):
        write_atomically(file, text)
    with durable_file(file, alone=False) as part:
        part.write_text("three")
    assert file.read_text() == "three"
    assert list(tmp_path.iterdir()) == [file]


def test_texts_that_are_not_utf8_are_written_all_the_same(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "é\ud800\udcff")
    assert (tmp_path / "a").read_text("utf-8") == "é\\ud800\\udcff"


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_on_the_disk_before_it_is_renamed_and_its_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    events: list[str] = []
    replace = Path.replace

    def note_replace(self: Path, target: Path) -> Path:
        events.append(f"{self.name} becomes {target.name}")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", note_replace)
    monkeypatch.setattr("detkit.storage.atomic.flush", lambda path: events.append(f"flush {path.name}"))
    write_atomically(tmp_path / "folder" / "a.txt", "new", sync=sync)
    renamed = [".a.txt.part becomes a.txt"]
    assert events == (["flush .a.txt.part", *renamed, "flush folder"] if sync else renamed)


def test_others_may_read_what_they_may_read_of_other_files(tmp_path: Path) -> None:
    """safetensors makes files for their owner alone."""
    (tmp_path / "usual.txt").touch()
    with durable_file(tmp_path / "model.safetensors") as part:
        part.touch(0o600)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode


def fails_within(first: OSError, second: Exception) -> None:
    try:
        raise first
    except OSError:
        raise second  # noqa: B904 (as torch does: the first one is only its context)


@pytest.mark.parametrize(
    ("context", "error", "reason"),
    [
        (None, OSError(28, "No space left on device"), "No space left on device"),
        (None, OSError("a text alone"), "a text alone"),
        (OSError(28, "No space left on device"), RuntimeError("write failed"), "No space left on device"),
        (None, SafetensorError("I/O error: No space left"), "I/O error: No space left"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_the_systems_reason_is_told_with_the_room_that_is_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    context: OSError | None,
    error: Exception,
    reason: str,
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9 << 20, 6 << 20, 3 << 20))
    file = tmp_path / "a.bin"
    if there:
        file.touch()

    def write() -> None:
        with durable_file(file):
            if context is None:
                raise error
            fails_within(context, error)

    with pytest.raises(UserError) as told:
        write()
    kept = "; the one that was there is unharmed" if there else ""
    assert str(told.value) == f"{file}: could not be written ({reason}); 3 MB are free there{kept}"


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), SafetensorError("a mistake")])
def test_what_is_not_the_systems_fault_is_not_called_so(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match=r"^a mistake$"), durable_file(tmp_path / "a.bin"):
        raise error
