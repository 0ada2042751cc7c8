from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.storage.content_keys import cache_folder, digests_of_files, digests_of_pixels, file_stamp, key_of


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("DETKIT_CACHE", "")
    assert cache_folder() == Path.home() / ".cache" / "detkit"


def test_digests_of_files_follow_their_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = digests_of_files([str(tmp_path / name) for name in "abc"], 2)
    assert a == c != b
    assert a == hashlib.blake2b(b"1", digest_size=16).hexdigest()
    missing = tmp_path / "d"
    with pytest.raises(UserError, match=rf"^{missing}: cannot be read: No such file or directory$"):
        digests_of_files([str(missing)], 1)


def test_digests_of_pixels_follow_values_and_shape() -> None:
    images = [np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), np.ones((2, 3, 3), np.uint8)]
    images.append(np.zeros((2, 6, 3), np.uint8)[:, ::2])
    digests = digests_of_pixels(images.__getitem__, range(4), 2)
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]


def test_keys_tell_values_apart_and_not_the_order_of_names() -> None:
    key = key_of("method", {"a": 1, "b": [2.0, None]})
    assert key == key_of("method", {"b": [2.0, None], "a": 1})
    others = [
        ("method", {"a": 2, "b": [2.0, None]}),
        ("method", {"a": 1}),
        ("other", {"a": 1, "b": [2.0, None]}),
    ]
    assert len({key, *(key_of(*other) for other in others)}) == 4
    assert key_of(Path("a")) == key_of("a")
    assert key_of("\udcff") != key_of("\ufffd")  # a file name that is no text


def test_the_stamp_of_a_file_is_its_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    os.utime(tmp_path / "a", ns=(5, 7_000_000_000))
    assert file_stamp(tmp_path / "a") == "3 7000000000"
    assert file_stamp(tmp_path / "b") == file_stamp("a\0b") == ""
