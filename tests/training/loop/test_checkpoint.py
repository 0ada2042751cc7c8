from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from detkit.errors import UserError
from detkit.training.loop.checkpoint import read_checkpoint
from tests.training.loop.tiny import tiny_model, train


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("this must never run",)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"last\.pt: no such checkpoint"):
        read_checkpoint(tmp_path / "last.pt")
    (tmp_path / "a.pt").write_bytes(b"nonsense")
    torch.save({"model": {}}, tmp_path / "b.pt")
    torch.save({"format": 1, "code": Harmful()}, tmp_path / "c.pt")
    train(tiny_model(), epochs=1, folder=tmp_path)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "d.pt").write_bytes(whole[: len(whole) // 2])
    for name in "abcd":
        with pytest.raises(UserError, match=rf"{name}\.pt: not a"):
            read_checkpoint(tmp_path / f"{name}.pt")
    assert "never run" not in capsys.readouterr().out


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path)
    other = tiny_model()
    other.head = nn.Linear(4, 6)
    with pytest.raises(UserError, match=r"last\.pt: is of another model or optimizer"):
        train(other, folder=tmp_path, resumes=True)
    frozen = tiny_model()
    frozen.conv.requires_grad_(False)
    with pytest.raises(UserError, match="groups differ"):
        train(frozen, folder=tmp_path, resumes=True)


def test_the_config_travels_with_it(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path, config_text="seed: 3\n")
    assert read_checkpoint(tmp_path / "last.pt")["config"] == "seed: 3\n"


def test_a_damaged_checkpoint_is_refused_without_torchs_advice(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path)
    whole = (tmp_path / "last.pt").read_bytes()
    torch.save({"format": 1, "code": Harmful()}, tmp_path / "code.pt")
    contents = {
        "empty": b"",
        "byte": whole[:1],
        "cut": whole[:-100],
        "code": (tmp_path / "code.pt").read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.pt").write_bytes(content)
        with pytest.raises(
            UserError, match=rf"{name}\.pt: not a checkpoint that can be read.* --from"
        ) as caught:
            read_checkpoint(tmp_path / f"{name}.pt")
        assert "weights_only" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"progress": {"step": 1}},
        {"progress": {"step": -1, "best": None, "best_step": 0, "stale": 0}},
        {"progress": {"step": 10**9, "best": None, "best_step": 0, "stale": 0}},
        {"epoch_steps": ()},
        {"epoch_steps": (0,)},
        {"epoch_steps": None},
        {"model": None},
        {"optimizer": {"state": {}}},
    ],
)
def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path)
    torch.save(read_checkpoint(tmp_path / "last.pt") | change, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt: a training checkpoint that lacks a part"):
        train(tiny_model(), folder=tmp_path, resumes=True)
