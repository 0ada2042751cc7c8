"""A pickle gives its arrays, and runs nothing."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.detectors.toolkits.pickled_arrays import read_pickled_arrays
from detkit.errors import UserError


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back(protocol: int, tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "across": np.asfortranarray(np.arange(6, dtype=">i8").reshape(2, 3)),
        "half": np.ones((3, 1), np.float16),
        "scalar": np.float64(2.5),
    }
    file = tmp_path / "a.pkl"
    content = {"model": OrderedDict(arrays), "__author__": "somebody", "matching_heuristics": True}
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickled_arrays(file)
    assert (found["__author__"], found["matching_heuristics"]) == ("somebody", True)
    for name, value in arrays.items():
        assert found["model"][name].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found["model"][name], value)


class Calls:
    """What calls a function where it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("make", [
    lambda ran: Calls(os.system, f"touch {ran}"),
    lambda ran: Calls(eval, f"open({str(ran)!r}, 'w')"),
    lambda ran: Calls(open, str(ran), "w"),
    lambda ran: Calls(np.save, str(ran), np.zeros(1)),
    lambda ran: Calls(partial, Path.touch, ran),
    lambda ran: np.array([Calls(os.system, f"touch {ran}")], dtype=object),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_would_run_is_refused(make: Callable[[Path], Any], protocol: int, tmp_path: Path) -> None:
    file, ran = tmp_path / "model_final.pkl", tmp_path / "ran"
    file.write_bytes(pickle.dumps({"model": {"w": make(ran)}}, protocol=protocol))
    with pytest.raises(UserError, match=r"model_final\.pkl is damaged or holds more than arrays \(asks for "):
        read_pickled_arrays(file)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"PK\x03\x04", b"\x80\x02]q\x00(K\x01"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pkl is damaged"):
        read_pickled_arrays(tmp_path / "a.pkl")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pkl")
    for name, said in (("a.pkl", "pipe"), ("b.pkl", "does not exist")):
        with pytest.raises(UserError, match=said):
            read_pickled_arrays(tmp_path / name)
