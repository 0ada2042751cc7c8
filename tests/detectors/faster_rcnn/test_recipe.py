"""Faster R-CNN in four steps: what each starts from, what stands still, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn import recipe as train_alternating
from detkit.detectors.faster_rcnn.recipe import STEPS
from detkit.errors import UserError
from detkit.runs.predictor import load_detector
from detkit.workflows.evaluate import evaluate
from detkit.workflows.propose import propose
from detkit.workflows.train import train

TURN = {"epochs": 1, "batch_size": 2, "optimizer": {"type": "sgd", "lr": 0.01}}


def small(weights: Path | None = None, **turns: dict[str, Any]) -> Config:
    """A ResNet with moving norms, whose statistics must stand still with the convolutions."""
    usual = load_config(
        "faster_rcnn_resnet18_synthetic",
        [
            "device=cpu",
            "data.resize={short_px: 96, long_px: 128}",
            "data.train.num_images=4",
            "data.val.num_images=2",
            "data.workers=0",
        ],
    )
    values = usual.model_dump()
    values["detector"] = {
        "type": "faster_rcnn",
        "backbone": {
            "type": "resnet",
            "depth": 18,
            "width": 0.125,
            "norm": "trainable",
            "weights": str(weights or "none"),
            "freeze_at": 0,
        },
        "proposals": {"type": "rpn", "channels": 8, "anchors": {"sizes_px": ((16, 48),)}, "min_size_px": 4},
        "regions": {"type": "roi_pool", "size": 3},
        "head": {"type": "two_fc", "channels": 8, "batch_per_image": 16, "box_targets": "measured"},
    }
    rpn, fast_rcnn = ({**TURN, **turns.get(name, {})} for name in ("rpn", "fast_rcnn"))
    values["train"] = {"type": "alternating", "precision": "fp32", "rpn": rpn, "fast_rcnn": fast_rcnn}
    values["train"]["post_nms"] = 50
    return Config.model_validate(values)


def state_of(folder: Path, step: str) -> dict[str, Tensor]:
    (found,) = (folder / "stages").glob(f"{step}-*")
    state: dict[str, Tensor] = load_file(found / "model.safetensors")
    return state


def same(one: dict[str, Tensor], other: dict[str, Tensor], part: str) -> bool:
    names = [name for name in one if name.startswith(part)]
    assert names
    return all(torch.equal(one[name], other[name]) for name in names)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alternating") / "run"
    trained = train(small(), out=folder)
    assert trained is not None
    assert trained.steps == 8
    return folder


def test_the_convolutions_of_step_2_stay_and_each_network_is_its_last_steps(run: Path) -> None:
    one, two, three, four = (state_of(run, STEPS[i]) for i in (0, 2, 3, 5))
    assert not same(one, two, "backbone")
    for later in (three, four):
        assert same(two, later, "backbone")  # the statistics of its norms, too
    assert not same(two, three, "rpn.")
    assert same(three, four, "rpn.")
    assert same(two, three, "roi_head")
    assert not same(three, four, "roi_head")
    final: dict[str, Tensor] = load_file(run / "model.safetensors")
    assert all(torch.equal(value, four[name]) for name, value in final.items())


def test_the_first_two_steps_start_from_the_backbones_weights(tmp_path: Path) -> None:
    """Step 2 does not go on from the proposal network: with a rate of nearly 0 it ends where it began."""
    fresh = build_detector(small().detector, 5, seed=9)
    weights = tmp_path / "backbone.safetensors"
    state = {name: value.contiguous() for name, value in fresh.backbone.state_dict().items()}
    save_file(state, weights)
    still = {"optimizer": {"type": "sgd", "lr": 1e-30, "weight_decay": 0.0}}
    train(small(weights, fast_rcnn=still), out=tmp_path / "run")
    one, two = (state_of(tmp_path / "run", STEPS[i]) for i in (0, 2))
    convolutions = [name for name, value in state.items() if value.dim() == 4]
    assert convolutions
    for name in convolutions:
        assert torch.equal(two[f"backbone.{name}"], state[name])
        assert not torch.equal(one[f"backbone.{name}"], state[name])


def test_a_stopped_training_goes_on_to_the_same_detector(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, calls = train_alternating.train_by_gradient, 0

    def stopped_at_step_3(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt("of the step's own folder")
        return learn(*given, **more)

    monkeypatch.setattr(train_alternating, "train_by_gradient", stopped_at_step_3)
    with pytest.raises(KeyboardInterrupt, match=f"stage 3-rpn; .*--resume --out {tmp_path / 'run'}"):
        train(small(), out=tmp_path / "run")
    train(small(), out=tmp_path / "run", resume=True)
    assert calls == 5  # steps 1 and 2 were done
    assert same(load_file(run / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors"), "")


def test_the_metrics_are_those_of_one_training(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [(2, 1), (4, 2), (6, 3), (8, 4)]
    assert ["rpn_box" in line for line in lines] == [True, False, True, False]
    assert (run / "report.html").is_file()
    assert not list((run / "stages").rglob("last.pt"))


def test_the_result_is_a_detector_like_any_other_and_tells_a_fast_rcnn_where_to_look(
    run: Path, tmp_path: Path
) -> None:
    weights = run / "model.safetensors"
    loaded = load_detector(weights)
    evaluated = evaluate(loaded.config, weights=weights, out=tmp_path / "eval")
    assert evaluated is not None
    write_synthetic(tmp_path / "data", "voc", 4, 2)
    boxes = tmp_path / "boxes.safetensors"
    told = propose(str(weights), [str(tmp_path / "data")], boxes, overrides=["max_boxes=40"])
    assert told.images == 6
    values = loaded.config.model_dump()
    values["data"] |= {
        part: {"type": "voc", "root": str(tmp_path / "data"), "sets": (part,)} for part in ("train", "val")
    }
    del values["detector"]["proposals"], values["train"]
    values["detector"] |= {
        "type": "fast_rcnn",
        "proposals": {"type": "file", "train": str(boxes), "val": str(boxes)},
    }
    values["train"] = {"type": "gradient", **TURN, "precision": "fp32"}
    config = Config.model_validate(values)
    trained = train(config, out=tmp_path / "fast")
    assert trained is not None
    again = evaluate(config, weights=tmp_path / "fast" / "model.safetensors", out=tmp_path / "again")
    assert again is not None
    assert trained.measured is not None
    assert again.measured.value == trained.measured.value


def test_what_does_not_go_together_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--from: alternating training begins"):
        train(small(), out=tmp_path / "run", from_weights=run / "model.safetensors")
    values = small().model_dump()
    values["train"]["rpn"]["accumulate"] = 3
    with pytest.raises(ValueError, match="multiple of accumulate"):
        Config.model_validate(values)
