from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.training.staged.vector_file import Kept, VectorFile

COUNTS = np.array([2, 0, 3])
ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(("kept", "tolerance"), [("fp32", 0.0), ("fp16", 1e-3)])
def test_what_is_put_can_be_got(tmp_path: Path, kept: Kept, tolerance: float) -> None:
    made = VectorFile(tmp_path / "vectors.npy", COUNTS, 4, kept)
    assert made.num_bytes == 5 * 4 * (4 if kept == "fp32" else 2)
    made.create()
    made.put(2, [ROWS[2:3], ROWS[3:]])
    made.put(0, [ROWS[:2]])
    made.put(1, [])
    made.flush()
    read = VectorFile(tmp_path / "vectors.npy", COUNTS, 4, kept)
    read.create()  # there already
    np.testing.assert_allclose(read.get(0), ROWS[:2], atol=tolerance)
    np.testing.assert_allclose(read.get(2, np.array([0, 2])), ROWS[[2, 4]], atol=tolerance)
    assert read.get(1).shape == (0, 4)
    assert read.get(0).dtype == np.float32


def test_no_vectors_need_no_file(tmp_path: Path) -> None:
    nothing = VectorFile(tmp_path / "vectors.npy", np.zeros(2, np.int64), 4, "fp16")
    nothing.create()
    nothing.put(1, [])
    assert nothing.get(1).shape == (0, 4)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_users_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match="No space left"):
        VectorFile(tmp_path / "vectors.npy", COUNTS, 4, "fp16").create()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_cannot_reserve_space_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def cannot(descriptor: int, start: int, length: int) -> None:
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "posix_fallocate", cannot, raising=False)
    made = VectorFile(tmp_path / "vectors.npy", COUNTS, 4, "fp32")
    made.create()
    made.put(0, [ROWS[:2]])
    np.testing.assert_array_equal(made.get(0), ROWS[:2])
    assert [file.name for file in tmp_path.iterdir()] == ["vectors.npy"]


def test_all_of_the_space_is_reserved_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _, *span: asked.append(span), raising=False)
    VectorFile(tmp_path / "vectors.npy", COUNTS, 4, "fp32").create()
    assert asked == [(0, (tmp_path / "vectors.npy").stat().st_size)]
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    VectorFile(tmp_path / "others.npy", COUNTS, 4, "fp32").create()
    assert (tmp_path / "others.npy").is_file()


def test_an_image_with_other_regions_is_noticed(tmp_path: Path) -> None:
    made = VectorFile(tmp_path / "vectors.npy", COUNTS, 4, "fp32")
    made.create()
    with pytest.raises(AssertionError, match="other regions"):
        made.put(2, [ROWS[:2]])
