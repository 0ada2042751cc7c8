from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from detkit.errors import UserError
from detkit.inference.model_file import read_model_file, save_model
from detkit.inference.score_floor import Advice


def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    return net.to(memory_format=torch.channels_last)


def saved(folder: Path) -> Path:
    file = folder / "run" / "model.safetensors"
    save_model(
        file, model(), classes=["Zelle", "größer"], category_ids=[4, 9], config_yaml="version: 1\n# é\n"
    )
    return file


def test_a_model_comes_back_with_all_it_says_about_itself(tmp_path: Path) -> None:
    read = read_model_file(saved(tmp_path))
    assert read.classes == ("Zelle", "größer")
    assert read.category_ids == (4, 9)
    assert read.config_yaml == "version: 1\n# é\n"
    assert read.licence == "MIT"
    assert read.version
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    read.load_into(other)
    for one, two in zip(model().state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_thresholds_come_back_exactly_and_may_be_absent(tmp_path: Path) -> None:
    assert read_model_file(saved(tmp_path)).thresholds is None
    advice: Advice = {"f1": (1 / 3, None), "precision": (None, None), "recall": (0.1, 0.25)}
    file = tmp_path / "m.safetensors"
    save_model(file, model(), classes=["a", "b"], category_ids=[1, 2], config_yaml="", thresholds=advice)
    assert read_model_file(file).thresholds == advice


def test_tied_weights_are_written_twice(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    save_model(tmp_path / "m.safetensors", net, classes=["a"], category_ids=[1], config_yaml="")
    assert set(read_model_file(tmp_path / "m.safetensors").state) == set(net.state_dict())


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.safetensors: the weights do not fit (?s:.*)size mismatch"):
        read_model_file(saved(tmp_path)).load_into(
            nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        )


def test_files_that_are_no_model_files_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_model_file(tmp_path / "absent.safetensors")
    whole = file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a safetensors file, or cut short"):
        read_model_file(tmp_path / "cut.safetensors")
    last = file.with_name("last.pt")
    torch.save({"a": torch.zeros(2)}, last)
    with pytest.raises(UserError, match=r"last.pt: not a safetensors file.*did you mean .*model.safetensors"):
        read_model_file(last)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="without the classes and config"):
        read_model_file(tmp_path / "other.safetensors")


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detkit.inference.model_file.save_file", full)
    with pytest.raises(UserError, match=r"No space left on device.*MB are free.*is unharmed"):
        saved(tmp_path)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_same_model_makes_the_same_file(tmp_path: Path) -> None:
    """Of the order of 5 texts there are 120: three files are the same by chance once in 14,400 times."""
    odd = '\x1b\x7f\x85\u2028\ud800"\\\b\t\n/é😀'
    for number in range(3):
        save_model(
            tmp_path / str(number), model(), classes=["b", odd], category_ids=[1, 2], config_yaml=f"# {odd}"
        )
    first, *others = (file.read_bytes() for file in sorted(tmp_path.iterdir()))
    assert others == [first, first]
    read = read_model_file(tmp_path / "0")
    assert read.classes == ("b", odd)
    assert read.config_yaml == "# " + odd.replace("\ud800", "\\ud800")
    read.load_into(model())
