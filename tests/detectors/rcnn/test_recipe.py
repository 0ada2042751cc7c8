"""R-CNN from one config: the stages, what they leave, and how they go on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.synthetic.dataset import SyntheticSet
from detkit.detectors.rcnn.model import RCNN
from detkit.errors import UserError
from detkit.runs.predictor import build_predictor, load_detector
from detkit.training.staged import decision as learn_decision
from detkit.training.staged import feature_store as region_vectors
from detkit.training.staged.plan import StagedPlan
from detkit.workflows.evaluate import evaluate
from detkit.workflows.plan import plan
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train

SMALL = [
    "detector.backbone.width=0.0625",
    "detector.regions={type: warp, size: 32, context_px: 3}",
    "detector.proposals={type: sliding_window, "
    "windows: {type: relative, scales: [0.2, 0.4], ratios: [1.0], stride: 0.5}}",
    "data.train.num_images=6",
    "data.val.num_images=3",
    "data.workers=0",
    "train.fine_tune.steps=4",
    "train.fine_tune.batch_size=8",
    "train.fine_tune.save_every_steps=1",
    "train.precision=fp32",
    "train.cache=fp32",
    "detector.head={type: svm, c: 0.0001}",  # with few, alike features a larger c takes liblinear long
    "device=cpu",
]


def small(*more: str) -> Config:
    return load_config("rcnn_resnet18_synthetic", [*SMALL, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    trained = train(small(), out=folder)
    assert trained is not None
    assert trained.steps == 4
    assert trained.measured is not None
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def stages(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in (folder / "stages").iterdir())


def test_a_run_leaves_its_stages_and_its_files(run: Path) -> None:
    assert stages(run) == ["box_regression", "features", "fine_tune", "svms"]
    names = {file.name for file in run.iterdir()}
    assert {"config.yaml", "model.safetensors", "metrics.jsonl", "report.html", "detections.json"} <= names
    (line,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert line["step"] == 4
    assert line["head_class"] > 0


def test_svms_and_regression_are_in_the_model_file(run: Path) -> None:
    loaded = load_detector(run / "model.safetensors").model
    assert isinstance(loaded, RCNN)
    assert loaded.decision.svms is not None
    assert loaded.decision.box_deltas is not None
    assert float(loaded.decision.svms.cls_score.weight.abs().sum(1).min()) > 0
    assert float(loaded.decision.box_deltas.bbox_pred.weight.abs().sum()) > 0


def test_the_model_evaluates_and_predicts(run: Path, tmp_path: Path) -> None:
    evaluated = evaluate(small(), weights=run / "model.safetensors", out=tmp_path / "eval")
    assert evaluated is not None
    assert evaluated.num_images == 3
    predictor = build_predictor(run / "model.safetensors", "cpu")
    pixels = SyntheticSet(1, 2).render(0)
    found = predictor.predict(pixels, threshold=0.0)
    assert len(found) > 0
    assert found.boxes[:, 2].max() <= pixels.shape[1]


def test_finished_stages_are_skipped_and_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights(run)
    train(small(), out=run, resume=True)
    said = capsys.readouterr().err
    for number, name in enumerate(("fine_tune", "features", "svms", "box_regression"), 1):
        assert f"stage {number} of 4, {name}: done before" in said
    for name, value in weights(run).items():
        assert torch.equal(value, before[name])


def test_another_svm_needs_no_other_features(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    old = {path.name for path in (copy / "stages").iterdir()}
    train(small("detector.head={type: svm, c: 0.0002}"), out=copy, resume=True)
    new = {path.name for path in (copy / "stages").iterdir()}
    assert {name.split("-")[0] for name in old - new} == {"svms"}
    assert len(new) == 4


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stage", ["fine_tune", "features", "svms", "box_regression"])
def test_a_training_that_is_killed_ends_in_the_same_model(
    run: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill(patch, stage)
        with pytest.raises(Killed):
            train(small(), out=folder)
    assert not (folder / "model.safetensors").exists()
    assert any(path.name.startswith(f".{stage}-") for path in (folder / "stages").iterdir())
    train(small(), out=folder, resume=True)
    assert_same(run, folder)


def kill(patch: pytest.MonkeyPatch, stage: str) -> None:
    """Have a stage die in its midst."""
    calls = 0

    def dies_at_the_third(function: object) -> object:
        def call(*args: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise Killed
            return function(*args, **named)  # type: ignore[operator]

        return call

    match stage:
        case "fine_tune":
            patch.setattr(RCNN, "forward", dies_at_the_third(RCNN.forward))
        case "features":
            patch.setattr(region_vectors, "_IMAGES_A_FLUSH", 1)
            original = region_vectors.CachedVectors._fill_image
            patch.setattr(region_vectors.CachedVectors, "_fill_image", dies_at_the_third(original))
        case "svms":
            patch.setattr(learn_decision, "_BETWEEN_SAVES_S", -1.0)
            original_candidates = learn_decision.SVMExamples.candidates
            patch.setattr(learn_decision.SVMExamples, "candidates", dies_at_the_third(original_candidates))
        case _:
            patch.setattr(
                learn_decision.RidgeMoments, "solve", dies_at_the_third(learn_decision.RidgeMoments.solve)
            )


def test_without_a_cache_the_same_is_learned(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(small("train.cache=none"), out=folder)
    assert stages(folder) == ["box_regression", "fine_tune", "svms"]
    first, second = weights(run), weights(folder)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-4)


def test_softmax_without_fine_tuning_or_regression_has_nothing_to_learn(tmp_path: Path) -> None:
    config = small("train.fine_tune=null", "detector.head={type: softmax}", "detector.box_regression=null")
    assert train(config, out=tmp_path / "run") is not None
    assert not (tmp_path / "run" / "stages").exists()


def test_features_that_the_disk_cannot_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(region_vectors.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(UserError, match=r"train\.cache=none computes them when needed"):
        train(small(), out=tmp_path / "run")
    assert "features take" in capsys.readouterr().err


def test_features_of_fc7_keep_pool5_of_what_regression_learns_from(tmp_path: Path) -> None:
    config = small("detector.backbone={type: alexnet, width: 0.0625}", "train.cache=fp16")
    train(config, out=tmp_path / "run")
    (folder,) = (tmp_path / "run" / "stages").glob("features-*")
    fc7, pool5 = np.load(folder / "fc7.npy"), np.load(folder / "pool5_of_examples.npy")
    assert fc7.dtype == pool5.dtype == np.float16
    assert 0 < len(pool5) < len(fc7)
    assert (fc7.shape[1], pool5.shape[1]) == (256, 16 * 36)
    assert np.load(folder / "done.npy").all()
    norms = np.load(folder / "pool5_norms.npy")
    assert norms.shape == (len(fc7), 1)
    # Every example's length is among those of its image's regions.
    of_examples = np.linalg.norm(pool5.astype(np.float64), axis=1)
    assert np.isclose(of_examples[:, None], norms[:, 0], rtol=2e-3).any(axis=1).all()


def test_what_it_takes_can_be_planned() -> None:
    planned = plan(small())
    assert isinstance(planned, StagedPlan)
    assert planned.fits
    assert planned.num_images == 6
    assert planned.cache_bytes == planned.num_regions * 32 * 4
    said = "\n".join(planned.lines())
    assert f"{planned.num_regions:,} regions in 6 images" in said
    assert "fine_tune" in said
    assert "features" in said
    assert planned.to_json()["fine_tune_seconds"] == planned.fine_tune_seconds
    without = plan(small("train.cache=none", "train.fine_tune=null"))
    assert isinstance(without, StagedPlan)
    assert (without.cache_bytes, without.steps, without.step_seconds) == (0, 0, None)


def test_regions_of_the_fine_tuning_are_drawn(tmp_path: Path) -> None:
    shown = show_data(small(), tmp_path / "shown", num_batches=2)
    assert [batch["objects"] for batch in shown["batches"]] == [2, 2]
    assert all(Path(batch["picture"]).is_file() for batch in shown["batches"])


def test_it_can_begin_with_another_detectors_weights(run: Path, tmp_path: Path) -> None:
    config = small("data.classes=[ring, disc, square, star, triangle]", "train.fine_tune=null")
    train(config, out=tmp_path / "run", from_weights=run / "model.safetensors")
    old, new = weights(run), weights(tmp_path / "run")
    assert torch.equal(new["network.backbone.conv1.weight"], old["network.backbone.conv1.weight"])
    assert torch.equal(new["decision.classifier.weight"][:2], old["decision.classifier.weight"][[1, 0]])


def test_the_times_of_a_plan() -> None:
    values = dict.fromkeys(("free_bytes", "cache_bytes", "disk_free_bytes", "step_bytes"), 0)
    planned = StagedPlan(
        "cpu", "fp32", 6, num_regions=600, step_seconds=0.5, steps=40, regions_per_second=20.0, **values
    )
    assert planned.feature_seconds == 30
    assert planned.fine_tune_seconds == 20
    assert "0.5 min" in "\n".join(planned.lines())


def test_a_step_has_to_divide_among_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.detectors.rcnn.recipe.world_size", lambda: 3)
    with pytest.raises(UserError, match=r"batch_size: 8 regions cannot be divided among 3 processes"):
        plan(small())


def test_the_regions_of_the_fine_tuning_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_data(small(), tmp_path / "shown", num_batches=1)
    assert re.search(r"\d+ regions with an object, \d+ of background", capsys.readouterr().err)
