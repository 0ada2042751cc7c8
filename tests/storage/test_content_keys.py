from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.storage.content_keys import cache_folder, digests_of_files, digests_of_pixels


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
    with pytest.raises(UserError, match="cannot be read"):
        digests_of_files([str(tmp_path / "d")], 1)


def test_digests_of_pixels_follow_values_and_shape() -> None:
    images = [np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), np.ones((2, 3, 3), np.uint8)]
    images.append(np.zeros((2, 6, 3), np.uint8)[:, ::2])
    digests = digests_of_pixels(images.__getitem__, range(4), 2)
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]
