from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from detkit.cli.app import app
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.synthetic.scenes import photographs
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.inference.export.graph import Arrays, Call, Graph
from detkit.inference.save_model import save_model
from detkit.runs.predictor import build_predictor
from detkit.workflows import export as workflow
from detkit.workflows.export import export

LIKE_TORCHVISION = (
    "detector.neck.channels=256",
    "detector.proposals.channels=0",
    "detector.head.channels=1024",
    "detector.regions.aligned=false",
)


def model_file(
    folder: Path, name: str = "faster_rcnn_resnet18_synthetic", *overrides: str, spread: float = 30
) -> Path:
    """Write a detector of random weights that finds things: its outputs are spread out."""
    config = load_config(
        name,
        [
            "detector.backbone.width=0.25",
            "data.resize={short_px: 96, long_px: 128}",
            "device=cpu",
            *overrides,
        ],
    )
    classes = config.data.classes
    model = build_detector(config.detector, len(classes), seed=0)
    for path, module in model.named_modules():
        if path.endswith(("cls_logits", "cls_score")) and isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.data *= spread
    file = folder / "model.safetensors"
    save_model(
        file, model, classes=classes, category_ids=range(len(classes)), config_yaml=dump_config(config)
    )
    return file


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"to": "tflite"}, "--to 'tflite': it must be one of onnx, torch-export, torchvision"),
        ({"to": "onnx", "precision": "fp8"}, "--precision 'fp8'"),
        ({"to": "torch-export", "precision": "fp16"}, "is for onnx"),
        ({"to": "onnx", "precision": "int8"}, "needs --data"),
    ],
)
def test_what_is_asked_for_is_named(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        export(tmp_path / "model.safetensors", **settings)
    assert said in str(error.value)


def test_a_detector_without_such_a_form_is_refused(tmp_path: Path) -> None:
    file = model_file(tmp_path, "overfeat_resnet18_synthetic")
    with pytest.raises(UserError, match="a overfeat cannot be exported"):
        export(file, "torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = model_file(tmp_path)
    (tmp_path / "model.pt2.json").write_text("{}")
    with pytest.raises(UserError, match="exists already"):
        export(file, "torch-export")


@pytest.mark.parametrize(
    ("weights", "out", "said"),
    [
        ("none.safetensors", "mine.onnx", "none.safetensors"),
        ("model.safetensors", ".", "exists already"),
        ("model.safetensors", "model.safetensors", "exists already"),
    ],
)
def test_wrong_paths_are_named_before_any_work(
    weights: str, out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "_make", None)
    model_file(tmp_path)
    ran = CliRunner().invoke(app, ["export", str(tmp_path / weights), "-o", str(tmp_path / out)])
    assert ran.exit_code == 2
    assert said in ran.output
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="needs onnxscript, which is not installed: pip install"):
        export(model_file(tmp_path), "onnx")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), r"detector\.backbone\.width: .* has 1\.0; this one 0\.25"),
        (("detector.backbone.width=1", "detector.regions.size=6"), r"detector\.regions\.size"),
        (("detector.backbone.width=1", "detector.proposals.min_size_px=4"), r"min_size_px"),
        (("detector.backbone.width=1", "data.resize=null"), r"data\.resize"),
    ],
)
def test_torchvision_has_no_equal_of_a_setting(overrides: tuple[str, ...], said: str, tmp_path: Path) -> None:
    file = model_file(tmp_path, "faster_rcnn_resnet18_synthetic", *LIKE_TORCHVISION, *overrides)
    with pytest.raises(UserError, match=said):
        export(file, "torchvision")


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_an_exported_detector_comes_with_its_certificate(to: str, tmp_path: Path) -> None:
    file = model_file(tmp_path, "faster_rcnn_resnet18_synthetic", "data.resize={short_px: 128, long_px: 170}")
    target = tmp_path / f"small{workflow.SUFFIXES[to]}"
    ran = CliRunner().invoke(app, ["export", str(file), "--to", to, "-o", str(target), "--json", "-"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.stdout)
    assert set(result) == {
        *("out", "format", "opset", "max_box_difference_px", "max_score_difference"),
        *("map_before", "map_after"),
    }
    assert (result["out"], result["format"]) == (str(target), to)
    assert result["max_box_difference_px"] < 0.05
    certificate = json.loads((tmp_path / f"{target.name}.json").read_text())
    assert certificate["difference"]["detections"] > 20
    assert len(certificate["difference"]["batches"]) == 9
    assert certificate["source"] == "model.safetensors"
    assert certificate["digests_blake2b"] == {"source": digest(file), "out": digest(target)}
    if to == "onnx":
        graph = onnx.load(target).graph
        sides = [
            [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim]
            for one in graph.input
        ]
        assert sides == [["batch", 3, "height", "width"], ["batch", 2], ["batch", 2]]
        assert {node.domain for node in graph.node} == {""}, "operators of the standard alone"


def eagerly(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[list[np.ndarray]], None] = lambda outputs: None
) -> dict[str, Any]:
    """Let a graph be run as it is instead of being written, and return what would have been written of it."""
    kept: dict[str, Any] = {}

    def write(graph: Graph, file: Path, metadata: dict[str, str]) -> None:
        kept.update(graph=graph, metadata=metadata)
        file.write_bytes(b"graph")

    def run(file: Path) -> Call:
        def call(arrays: Arrays) -> list[np.ndarray]:
            graph = kept["graph"]
            assert arrays["images"].dtype == graph.example()[0].numpy().dtype, "what it was traced with"
            with torch.no_grad():
                outputs = [one.numpy().copy() for one in graph(*map(torch.from_numpy, arrays.values()))]
            change(outputs)
            return outputs

        return call

    monkeypatch.setattr(workflow, "write_program", write)
    monkeypatch.setattr(workflow, "run_program", run)
    return kept


@pytest.mark.parametrize("moved_px", [0.2, 0.5])
def test_key_points_that_moved_are_refused(
    moved_px: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = model_file(tmp_path, "localizer_resnet18_synthetic_keypoints")

    def moved(outputs: list[np.ndarray]) -> None:
        outputs[-1][0, 0, 1, 0] += moved_px

    eagerly(monkeypatch, moved)
    ran = CliRunner().invoke(app, ["export", str(file), "--to", "torch-export"])
    assert ran.exit_code == int(moved_px > 0.25), ran.output
    assert f"key points {moved_px:.2g}" in ran.stdout
    written = tmp_path / "model.pt2.json"
    assert written.exists() == (moved_px < 0.25)
    if written.exists():
        certificate = json.loads(written.read_text())
        assert certificate["tolerance"]["keypoint_px"] == 0.25
        assert certificate["difference"]["keypoint_px"] == pytest.approx(moved_px, abs=0.02)


@pytest.mark.parametrize("like", ["detkit", "torchvision", "caffe", "opencv", "pillow"])
def test_whoever_resizes_the_graph_takes_those_pixels_and_says_so(
    like: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resize = {"short_px": 96, "long_px": 128, "like": like}
    file = model_file(tmp_path, "faster_rcnn_resnet18_synthetic", f"data.resize={json.dumps(resize)}")
    kept = eagerly(monkeypatch)
    assert export(file, "torch-export").is_same
    assert json.loads(kept["metadata"]["resize"]) == resize
    assert kept["graph"].example()[0].is_floating_point() == (like in ("torchvision", "caffe"))


def digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


@pytest.mark.slow
def test_above_the_tolerance_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = model_file(tmp_path)

    def moved(path: Path):  # type: ignore[no-untyped-def]
        call = run(path)

        def other(arrays):  # type: ignore[no-untyped-def]
            boxes, *rest = call(arrays)
            return [boxes + np.float32(3), *rest]

        return other

    run = workflow.run_onnx
    monkeypatch.setattr(workflow, "run_onnx", moved)
    ran = CliRunner().invoke(app, ["export", str(file), "--to", "onnx"])
    assert ran.exit_code == 1
    assert "refused" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "maker", "more"),
    [
        ("faster_rcnn_resnet18_synthetic", "resnet_fpn_backbone", {}),
        ("faster_rcnn_mobilenet_v3_large_fpn_coco", "mobilenet_backbone", {"fpn": True}),
    ],
)
def test_torchvision_finds_the_same_with_the_written_state(
    name: str, maker: str, more: dict[str, bool], tmp_path: Path
) -> None:
    from torchvision.models.detection import FasterRCNN, backbone_utils
    from torchvision.models.detection.rpn import AnchorGenerator

    as_there = ("detector.multiple_of=32", "detector.proposals.anchors.over=batch")
    sizes = "data.resize={short_px: 96, long_px: 128, like: torchvision}"
    scratch = ("detector.backbone.width=1", "detector.backbone.weights=none", "train.precision=fp32")
    file = model_file(tmp_path, name, *LIKE_TORCHVISION, *scratch, *as_there, sizes, spread=1)
    result = export(file, "torchvision")
    assert result.difference.box_px < 0.05
    assert result.difference.detections > 20
    assert result.notes == ()
    certificate = json.loads((tmp_path / "model.pth.json").read_text())
    assert certificate["digests_blake2b"] == {"source": digest(file), "out": digest(tmp_path / "model.pth")}
    theirs = FasterRCNN(
        getattr(backbone_utils, maker)(backbone_name=certificate[maker], weights=None, **more),
        rpn_anchor_generator=AnchorGenerator(**certificate["rpn_anchor_generator"]),
        **certificate["arguments"],
    ).eval()
    theirs.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    pixels = photographs()[0].copy()
    with torch.no_grad():
        found = theirs([torch.from_numpy(pixels).permute(2, 0, 1) / 255])[0]
    wanted = build_predictor(file, "cpu").predict(pixels, threshold=0)
    assert len(wanted) > 20
    torch.testing.assert_close(found["scores"], torch.from_numpy(wanted.scores), atol=1e-4, rtol=0)
    assert (found["labels"] - 1 == torch.from_numpy(wanted.labels)).float().mean() > 0.95
    same = (found["boxes"] - torch.from_numpy(wanted.boxes)).abs().amax(1) < 0.05
    assert same.float().mean() > 0.95, "but for scores that differ in the last bit"
