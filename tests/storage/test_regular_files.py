from __future__ import annotations

import os
from pathlib import Path

import pytest

from detkit.errors import UserError
from detkit.storage.regular_files import MEBIBYTE, is_file, is_folder, read_bytes
from detkit.storage.strict_yaml import read_yaml_file


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
            read_bytes(tmp_path / name)
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
        read_bytes(file, 2 * MEBIBYTE)
    assert len(read_bytes(file)) == 2 * MEBIBYTE + 1


def test_a_pipe_is_no_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe\.yaml: cannot be read \(it is a pipe or a device\)"):
        read_yaml_file(tmp_path / "pipe.yaml")
