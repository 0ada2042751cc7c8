"""Damaged files of stages are named, with the way to have them made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from detkit.errors import UserError
from detkit.models.roi.decision import RidgeDeltas, SVMScores
from detkit.training.staged.decision import BOX_REGRESSION, SVMS, fill_box_regression, fill_svms
from detkit.training.staged.fine_tune import NETWORK, load_network, save_network
from detkit.training.staged.stage_files import mapped
from detkit.training.staged.vector_file import VectorFile


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "gone", "shape", "type"])
def test_a_damaged_array_file_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "fc7.npy"
    np.save(file, np.zeros((5, 4), np.float32))
    assert mapped(file, "r", (5, 4), np.float32).shape == (5, 4)
    if damage == "gone":
        file.unlink()
    elif damage == "shape":
        np.save(file, np.zeros((6, 4), np.float32))
    elif damage == "type":
        np.save(file, np.zeros((5, 4), np.float16))
    else:
        file.write_bytes({"cut": file.read_bytes()[:-8], "empty": b"", "text": b"no array\n" * 20}[damage])
    with pytest.raises(UserError, match=r"fc7\.npy: damaged.*delete the folder .*--resume"):
        mapped(file, "r", (5, 4), np.float32)


def test_vectors_of_a_damaged_file_are_not_read(tmp_path: Path) -> None:
    vectors = VectorFile(tmp_path / "fc7.npy", np.array([2, 1]), 4, "fp32")
    vectors.create()
    vectors.put(0, [np.ones((2, 4), np.float32)])
    file = tmp_path / "fc7.npy"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="damaged"):
        VectorFile(file, np.array([2, 1]), 4, "fp32").get(0)


@pytest.mark.parametrize("damage", ["cut", "names", "shape"])
def test_damaged_weights_of_stages_are_named(tmp_path: Path, damage: str) -> None:
    network = nn.Linear(3, 2)
    save_network(network, tmp_path)
    good = {"weights": np.zeros((2, 3)), "bias": np.zeros(2), "known": np.ones(2, bool), "scale": np.ones(1)}
    if damage == "names":
        del good["weights"]
    elif damage == "shape":
        good["weights"] = np.zeros((2, 5))
    for name in (SVMS, BOX_REGRESSION):
        save_file(good, tmp_path / name)
    if damage == "cut":
        for name in (SVMS, BOX_REGRESSION, NETWORK):
            (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-3])
        with pytest.raises(UserError, match=r"network\.safetensors: damaged"):
            load_network(network, tmp_path)
    with pytest.raises(UserError, match=r"svms\.safetensors: damaged"):
        fill_svms(SVMScores(3, 2), tmp_path)
    with pytest.raises(UserError, match=r"box_regression\.safetensors: damaged"):
        fill_box_regression(RidgeDeltas(3, 2), tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(nn.Linear(3, 2), tmp_path)
    with pytest.raises(UserError, match=r"network\.safetensors: .*of another training"):
        load_network(nn.Linear(4, 2), tmp_path)
    same = nn.Linear(3, 2)
    load_network(same, tmp_path)
    assert torch.isfinite(same.weight).all()
