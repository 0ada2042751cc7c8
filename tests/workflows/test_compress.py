from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from detkit.cli.app import app
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.errors import UserError
from detkit.inference.save_model import save_model
from detkit.models.roi.box_heads import FcHead
from detkit.runs.predictor import load_detector
from detkit.workflows import compress as workflow
from detkit.workflows.compress import Compression, Measurement, compress
from detkit.workflows.evaluate import evaluate
from detkit.workflows.train import train


def small(*more: str) -> Config:
    return load_config(
        "faster_rcnn_resnet18_synthetic",
        [
            "detector.backbone.width=0.125",
            "detector.proposals.channels=16",
            "detector.head.channels=24",
            "detector.head.score_threshold=0",
            "data.resize={short_px: 96, long_px: 128}",
            "data.train.num_images=4",
            "data.val.num_images=3",
            "data.workers=0",
            "train.epochs=1",
            "train.precision=fp32",
            "device=cpu",
            *more,
        ],
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that nothing was learned for."""
    file = tmp_path_factory.mktemp("run") / "model.safetensors"
    config = small()
    model = build_detector(config.detector, 5, seed=0)
    save_model(
        file,
        model,
        classes=config.data.classes,
        category_ids=range(5),
        config_yaml=dump_config(config),
    )
    return file


def test_full_rank_finds_the_same_and_says_so(weights: Path, tmp_path: Path) -> None:
    result = compress(weights, 10_000, 10_000, out=tmp_path / "full.safetensors", device="cpu")
    assert result.before.ap == result.after.ap
    torch.manual_seed(0)
    regions = torch.randn(20, 64, 7, 7)
    thin, whole = (load_detector(file).model.roi_head.head(regions) for file in (result.out, weights))
    torch.testing.assert_close(thin, whole, atol=1e-4, rtol=1e-4)


def test_a_compressed_file_is_a_model_file(weights: Path, tmp_path: Path) -> None:
    result = compress(weights, 5, 3, device="cpu")
    assert result.out == weights.with_name("model_fc6_5_fc7_3.safetensors")
    assert result.metric == "coco"
    inputs = 64 * 7 * 7
    assert result.before.parameters == (inputs + 1) * 24 + 25 * 24
    assert result.after.parameters == inputs * 5 + 5 * 24 + 24 + 24 * 3 + 3 * 24 + 24
    assert result.before.seconds_per_image
    assert result.after.seconds_per_image
    loaded = load_detector(result.out)
    shapes = {name: tuple(value.shape) for name, value in loaded.model.roi_head.head.state_dict().items()}
    assert shapes["fc6.0.weight"] == (5, inputs)
    assert shapes["fc7.1.weight"] == (24, 3)
    evaluated = evaluate(loaded.config, weights=result.out, out=tmp_path / "eval")
    assert evaluated is not None
    assert evaluated.measured.value == result.after.ap
    tuned = train(loaded.config, out=tmp_path / "tuned", from_weights=result.out)
    assert tuned is not None
    with pytest.raises(UserError, match="compressed already"):
        compress(result.out, 4, 2, out=tmp_path / "again.safetensors", device="cpu")
    with pytest.raises(UserError, match="never overwritten"):
        compress(weights, 5, 3, device="cpu")


def test_without_images_the_figures_are_null(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    other = small("data.val={type: voc, root: nowhere}")
    file = tmp_path / "model.safetensors"
    loaded = load_detector(weights)
    save_model(
        file,
        loaded.model,
        classes=loaded.classes,
        category_ids=range(5),
        config_yaml=dump_config(other),
    )
    done = CliRunner().invoke(app, ["compress", str(file), "--fc7", "4", "--out", str(out), "--json", "-"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["out"] == str(out)
    assert result["before"]["ap"] is result["after"]["seconds_per_image"] is result["speedup"] is None
    assert result["before"]["parameters"] > result["after"]["parameters"]
    of_a_gpu = small("train.precision=fp16")  # the other precision that the CPU has is taken
    evaluated = compress(file, None, 4, out=tmp_path / "evaluated.safetensors", data=of_a_gpu, device="cpu")
    assert evaluated.after.ap is not None
    with pytest.raises(UserError, match="nowhere"):
        compress(weights, None, 4, out=tmp_path / "no.safetensors", data=other, device="cpu")


def test_a_pretrained_layer_is_made_thin_when_it_is_read(tmp_path: Path) -> None:
    """A config with ranks starts from the singular vectors of the whole layers in the weights file."""
    torch.manual_seed(0)
    backbone = {"type": "alexnet", "width": 0.125}
    parts = {
        "type": "fast_rcnn",
        "backbone": backbone,
        "proposals": {"type": "sliding_window"},
        "regions": {"type": "roi_pool", "size": 6},
        "head": {"type": "fc6_fc7"},
    }
    whole = build_detector(FastRCNNConfig.model_validate(parts), 2, seed=3)
    state = {f"features.{k}": v for k, v in whole.backbone.features.state_dict().items()}
    keys = ("classifier.1.", "classifier.4.")
    for key, layer in zip(keys, (whole.roi_head.head.fc6, whole.roi_head.head.fc7), strict=True):
        state |= {f"{key}{name}": value for name, value in layer.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    parts["backbone"] = {**backbone, "weights": str(tmp_path / "weights.pth")}
    parts["head"] = {"type": "fc6_fc7", "fc6_rank": 8, "fc7_rank": 9999}
    thin = build_detector(FastRCNNConfig.model_validate(parts), 2, seed=4)
    fc6, fc7 = thin.roi_head.head.fc6, thin.roi_head.head.fc7
    torch.testing.assert_close(fc7[1].weight @ fc7[0].weight, whole.roi_head.head.fc7.weight)
    left, values, right = torch.linalg.svd(whole.roi_head.head.fc6.weight, full_matrices=False)
    nearest = left[:, :8] * values[:8] @ right[:8]
    torch.testing.assert_close(fc6[1].weight @ fc6[0].weight, nearest, atol=1e-5, rtol=1e-4)


def test_images_that_are_gone_are_said(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object) -> None:
        raise UserError("data/val: no such folder")

    monkeypatch.setattr("detkit.workflows.compress.open_validation_set", gone)
    compress(weights, fc6=8, fc7=None, out=tmp_path / "small.safetensors")
    said = capsys.readouterr().err
    assert "not measured, for want of images: data/val: no such folder" in said
    assert "--data CONFIG names others" in said


def test_layers_that_are_not_there_or_thin_already_are_told() -> None:
    with pytest.raises(
        UserError, match=r"^m: has no fc6 and fc7; heads fc6_fc7 and two_fc can be compressed$"
    ):
        workflow._require_whole_fc(nn.Identity(), Path("m"))
    model = nn.Module()
    model.replace_fc_layers = lambda layers: None  # type: ignore[assignment]
    for layers, is_whole in (
        (FcHead(2, 1, channels=3), True),
        (FcHead(2, 1, channels=3, ranks=(1, None)), False),
        (FcHead(2, 1, channels=3, ranks=(None, 1)), False),
    ):
        model.fc_layers = [FcHead(2, 1, channels=3), layers]  # type: ignore[assignment]
        if is_whole:
            workflow._require_whole_fc(model, Path("m"))
        else:
            with pytest.raises(
                UserError, match=r"^m: is compressed already; give the file that it was made from$"
            ):
                workflow._require_whole_fc(model, Path("m"))


def test_the_figures_of_a_compression() -> None:
    before, after = Measurement(100, 0.5, 3.0), Measurement(40, 0.375, 1.5)
    assert Compression(Path("o"), "coco", before, after).to_json() == {
        "out": "o", "metric": "coco", "before": vars(before), "after": vars(after), "ap_difference": -0.125,
        "speedup": 2.0,
    }  # fmt: skip
    for one, other in (
        (Measurement(1, None, None), after),
        (before, Measurement(1, None, None)),
        (before, Measurement(1, None, 0.0)),
    ):
        found = Compression(Path("o"), None, one, other).to_json()
        assert (found["ap_difference"], found["speedup"]) == (None, None)
