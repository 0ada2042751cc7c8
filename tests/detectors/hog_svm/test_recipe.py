from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.config.load import load_config
from detkit.errors import UserError
from detkit.runs.predictor import load_detector
from detkit.training.staged import decision
from detkit.workflows.evaluate import evaluate
from detkit.workflows.train import train

SMALL = [
    "data.train.num_images=6",
    "data.val.num_images=2",
    "data.workers=0",
    "device=cpu",
    "detector.regions.cell_px=8",
    "detector.regions.stride_px=8",
    "detector.proposals.scale_step=1.5",
    "detector.head.bias_multiplier=1",
    "train.rounds=2",
    "train.random_negatives=4",
    "train.hard_per_image=10",
]


def trained(out: Path, *more: str, **settings: Any) -> dict[str, torch.Tensor]:
    train("hog_svm_synthetic", [*SMALL, *more], out=out, **settings)
    return load_detector(out).model.state_dict()


def test_learns_windows_and_templates_and_leaves_a_model_that_predicts(tmp_path: Path) -> None:
    state = trained(tmp_path / "run")
    assert (tmp_path / "run/report.html").is_file()
    loaded = load_detector(tmp_path / "run")
    assert loaded.config.detector.regions.windows is None
    for label, name in enumerate(loaded.classes):
        height, width = loaded.model.window(label)
        assert height == pytest.approx(width, abs=16), name  # all shapes are about as wide as high
        assert state[f"templates.{label}.weight"].abs().max() > 0
    again = trained(tmp_path / "again")
    assert state.keys() == again.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=0)


def test_a_stopped_mining_goes_on_to_the_same_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole")
    monkeypatch.setattr(decision, "_BETWEEN_SAVES_S", 0.0)
    save, calls = decision.save_mining, []

    def stopping(file: Path, state: decision.MiningState) -> None:
        save(file, state)
        calls.append(state.done)
        if len(calls) == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(decision, "save_mining", stopping)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        trained(tmp_path / "stopped")
    assert calls == list(range(1, 10))
    resumed = trained(tmp_path / "stopped", resume=True)
    assert calls[9:] == list(range(10, 14))  # two rounds of six images, and the first turn
    for name, value in whole.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=0)


def test_hard_negatives_bring_margins_of_background_down(tmp_path: Path) -> None:
    first, mined = trained(tmp_path / "first", "train.rounds=0"), trained(tmp_path / "mined")
    assert any(not np.array_equal(first[name], mined[name]) for name in first)

    def highest(out: Path) -> int:
        model = load_detector(out).model
        pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        margins = [
            model.windows(model.levels(pixels), (120, 160), label)[1] for label in range(model.num_classes)
        ]
        return sum(len(one) for one in margins)

    assert highest(tmp_path / "mined") <= highest(tmp_path / "first")


def test_starts_from_no_other_detector(tmp_path: Path) -> None:
    trained(tmp_path / "first")
    with pytest.raises(UserError, match="--from"):
        trained(tmp_path / "run", from_weights=tmp_path / "first")


def test_config_says_what_does_not_go() -> None:
    for change, says in (
        ("detector.regions.windows=[[32, 32]]", "for each of the 5 classes"),
        ("detector.regions.windows=[[30, 32]]", "multiple of stride_px"),
        ("detector.regions={type: hog, windows: [[32, 32]], context_px: 16}", "no room"),
        ("detector.proposals={type: selective_search}", "are rcnn's"),
        ("train.type=gradient", "mining"),
        ("data.train.augment=[{type: flip}]", "train.mirror"),
    ):
        with pytest.raises(UserError, match=says):
            load_config("hog_svm_synthetic", [change])


def test_an_evaluation_by_miss_rates_counts_windows_too(tmp_path: Path) -> None:
    trained(tmp_path / "run", "evaluate.metric=miss_rate")
    config = tmp_path / "run/config.yaml"
    found = evaluate(config, weights=tmp_path / "run", out=tmp_path / "eval")
    assert found is not None
    windows = found.to_json()["windows"]
    assert windows.keys() == set(found.measured.classes)
    of_ring = list(windows["ring"].values())
    assert of_ring == sorted(of_ring, reverse=True)
    assert 0 <= of_ring[-1] < 1
    assert set(windows["disc"].values()) == {None}  # of which the two images have none
    assert "Misses and false windows" in (tmp_path / "eval/report.html").read_text("utf-8")
    plain = evaluate(config, ["evaluate.metric=coco"], weights=tmp_path / "run", out=tmp_path / "plain")
    assert plain is not None
    assert "windows" not in plain.to_json()
