from __future__ import annotations

import os
from pathlib import Path

import pytest

from detkit.annotations.text_files import MEBIBYTE, is_file, is_folder, read_bytes, read_lines, read_text
from detkit.errors import UserError


def test_lines_without_blank_ones(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cat \n\n  dog\n", encoding="utf-8")
    assert read_lines(file) == ["cat", "dog"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Bär".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: not a text file in UTF-8 \(byte 1\)"):
        read_text(tmp_path / "latin.txt")
    with pytest.raises(UserError, match=r"absent\.txt: the file does not exist"):
        read_lines(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")  # whoever opens it waits for ever
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    for name, reason in (
        ("pipe.txt", "it is a pipe or a device"),
        ("zero.txt", "it is a pipe or a device"),
        ("loop.txt", "levels of symbolic links"),
        ("x" * 5000, "name too long"),
        ("pipe.txt/more", "does not exist"),
    ):
        with pytest.raises(UserError, match=reason) as caught:
            read_text(tmp_path / name)
        assert len(str(caught.value)) < 500
        assert not is_file(tmp_path / name)
        assert not is_folder(tmp_path / name)
    assert is_folder(tmp_path)


def test_a_file_has_at_most_so_many_bytes(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(b"x" * (2 * MEBIBYTE))
    assert len(read_bytes(file, 2 * MEBIBYTE)) == 2 * MEBIBYTE
    assert is_file(file)
    file.write_bytes(b"x" * (2 * MEBIBYTE + 1))
    with pytest.raises(UserError, match=r"names\.txt: has 2 MiB, more than the 2 MiB"):
        read_text(file, 2 * MEBIBYTE)
    assert len(read_bytes(file)) == 2 * MEBIBYTE + 1
