from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from detkit.config.load import load_config
from detkit.runs.session import session
from detkit.runtime import threads

NAME = "faster_rcnn_resnet18_synthetic"


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "share_of_cores", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("overrides", "number", "tunes"),
    [
        ((), 4, True),
        (("threads=3",), 3, False),
        (("deterministic=true",), 4, False),
        (("deterministic=true", "threads=2"), 2, False),
        (("train.compile=true",), 4, False),
        (("evaluate.compile=true",), 4, False),
    ],
)
def test_a_session_computes_with_the_threads_of_its_config(
    overrides: tuple[str, ...], number: int, tunes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(NAME, ["device=cpu", *overrides])
    with session(config, trains=True) as run:
        assert torch.get_num_threads() == number
        assert run.threads.of("training").is_settled != tunes
        torch.set_num_threads(1)
    assert torch.get_num_threads() == 4
    said = capsys.readouterr().err
    assert (f"threads: {number} throughout" in said) == config.deterministic


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with session(load_config(NAME, ["device=cpu", "threads=3"]), trains=True) as run:
        assert torch.get_num_threads() == 4
        assert run.threads.of("training").is_settled
