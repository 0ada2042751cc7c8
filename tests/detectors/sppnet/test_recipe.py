"""SPP-net from one config, through the stages it shares with R-CNN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.synthetic.dataset import SyntheticSet
from detkit.detectors.sppnet.model import SPPNet
from detkit.runs.predictor import build_predictor
from detkit.training.staged import decision as learn_decision
from detkit.training.staged.plan import StagedPlan
from detkit.training.staged.svms import Mining
from detkit.workflows.evaluate import evaluate
from detkit.workflows.plan import plan
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train

SMALL = [
    "detector.backbone={type: alexnet, width: 0.0625}",
    "detector.scales_px=[64, 96]",
    "detector.proposals={type: sliding_window, "
    "windows: {type: relative, scales: [0.2, 0.4], ratios: [1.0], stride: 0.5}}",
    "data.resize={short_px: 96, long_px: 200}",
    "data.train.num_images=6",
    "data.val.num_images=2",
    "data.workers=0",
    "train.fine_tune.steps=5",
    "train.fine_tune.batch_size=8",
    "train.fine_tune.images_per_step=2",
    "train.fine_tune.save_every_steps=1",
    "train.precision=fp32",
    "train.cache=none",
    "detector.head={type: svm, c: 0.0001}",  # with few, alike features a larger c takes liblinear long
    "device=cpu",
]


def small(*more: str) -> Config:
    return load_config("sppnet_resnet18_synthetic", [*SMALL, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    trained = train(small(), out=folder)
    assert trained is not None
    assert trained.measured is not None
    return folder


def test_it_leaves_a_model_that_evaluates_and_predicts(run: Path, tmp_path: Path) -> None:
    stages = sorted(path.name.split("-")[0] for path in (run / "stages").iterdir())
    assert stages == ["box_regression", "fine_tune", "svms"]
    evaluated = evaluate(small(), weights=run / "model.safetensors", out=tmp_path / "eval")
    assert evaluated is not None
    predictor = build_predictor(run / "model.safetensors", "cpu")
    assert isinstance(predictor.model, SPPNet)
    found = predictor.predict(SyntheticSet(1, 2).render(0), threshold=0.0)
    assert len(found) > 0


def test_it_is_planned_and_shown_as_it_will_be_trained(tmp_path: Path) -> None:
    planned = plan(small())
    assert isinstance(planned, StagedPlan)
    assert planned.steps == 5
    assert planned.step_seconds is not None
    assert planned.num_regions > planned.num_images == 6
    assert planned.cache_bytes == 0
    shown = show_data(small(), tmp_path / "shown", num_batches=1)
    assert shown["batches"][0]["images"] > 0


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", [2, 4])  # three steps are a pass over the images
def test_a_killed_fine_tuning_ends_in_the_same_model(
    run: Path, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, forward, calls = tmp_path / "run", SPPNet.forward, []

    def dies(self: SPPNet, batch: object) -> object:
        calls.append(batch)
        if len(calls) == step:
            raise Killed
        return forward(self, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SPPNet, "forward", dies)
        with pytest.raises(Killed):
            train(small(), out=folder)
    train(small(), out=folder, resume=True)
    first, second = (load_file(each / "model.safetensors") for each in (run, folder))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_negatives_that_look_equal_features_count_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Mining] = []
    original = learn_decision.mine

    def mine(source: object, state: object, classes: object, how: Mining, **named: object) -> None:
        asked.append(how)
        original(source, state, classes, how, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(learn_decision, "mine", mine)
    train(small("train.fine_tune=null"), out=tmp_path / "run")
    assert [how.drop_duplicates for how in asked] == [True]
    assert (asked[0].c, asked[0].positive_weight, asked[0].bias_multiplier) == (0.0001, 2.0, 10.0)
    assert (asked[0].hard_above, asked[0].evict_below, asked[0].retrain_after) == (-1.0001, -1.2, 2000)
