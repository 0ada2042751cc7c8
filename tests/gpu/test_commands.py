"""The commands with `device=cuda`, from training to proposals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from detkit.__main__ import main
from detkit.config.load import load_config
from detkit.data.datasets.index import Index
from detkit.data.loading.loaders import EvalLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from detkit.runs.session import session
from detkit.runtime.session import Session

pytestmark = pytest.mark.gpu

CROPS = "{type: object_crops, of: {type: synthetic, num_images: 8}}"
IMAGES = (
    "data.train={type: synthetic, num_images: 8}",
    "data.val={type: synthetic, num_images: 4, seed: 1}",
    "data.resize={short_px: 96, long_px: 128}",
)
STAGED = (*IMAGES, "train.fine_tune.steps=4", "train.fine_tune.batch_size=16")
TRAININGS = {
    "faster_rcnn_resnet18_synthetic": (*IMAGES, "train.epochs=2", "detector.head.score_threshold=0.0"),
    "faster_rcnn_resnet18_synthetic_alternating": (
        *IMAGES, "train.rpn.epochs=1", "train.fast_rcnn.epochs=1", "detector.head.score_threshold=0.0",
    ),
    "rcnn_resnet18_synthetic": STAGED,
    "sppnet_resnet18_synthetic": STAGED,
    "classifier_resnet18_synthetic": (f"data.train={CROPS}", f"data.val={CROPS}", "train.epochs=1"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_train_evaluate_predict(device: torch.device, name: str, tmp_path: Path) -> None:
    out, weights = tmp_path / "run", str(tmp_path / "run" / "model.safetensors")
    common = [f"device={device}", "data.workers=2", *TRAININGS[name]]
    assert main(["train", name, *common, "--out", str(out)]) == 0
    config = ["eval", str(out / "config.yaml"), "--weights", weights]
    assert main([*config, "--out", str(tmp_path / "eval"), "--json", str(tmp_path / "eval.json")]) == 0
    assert json.loads((tmp_path / "eval.json").read_text("utf-8"))["seconds"] > 0
    write_synthetic(tmp_path / "shapes", "yolo", 2, 1)
    (pictures,) = {file.parent for file in (tmp_path / "shapes").rglob("train_*.jpg")}
    predicting = [
        "predict",
        weights,
        str(pictures),
        "--out",
        str(tmp_path / "found"),
        "--device",
        str(device),
    ]
    assert main([*predicting, "--threshold", "0.001"]) == 0
    if name == "faster_rcnn_resnet18_synthetic":
        proposals = ["propose", weights, str(pictures), "--out", str(tmp_path / "rpn.safetensors")]
        assert main([*proposals, "--device", str(device)]) == 0
        assert (tmp_path / "rpn.safetensors").is_file()


def test_pixels_travel_from_page_locked_memory(device: torch.device) -> None:
    drawn = SyntheticSet(4, 0, ("disc", "ring"))
    dataset = DetectionDataset(Index.of(drawn.annotations()), drawn.render, (), 0, None)
    loader = EvalLoader(dataset, batch_size=1, workers=1, pin_memory=Session(device).pin_memory)
    for number, (batch, (image,)) in enumerate(loader):
        assert number == image
        assert batch.pixels.is_pinned() == (device.type == "cuda")
        there = batch.to(device)
        assert torch.equal(there.pixels.cpu()[0].permute(1, 2, 0), torch.from_numpy(drawn.render(image)))


def test_a_session_takes_the_device_of_its_name(device: torch.device) -> None:
    config = load_config("faster_rcnn_resnet18_synthetic", [f"device={device}", "train.precision=fp32"])
    with session(config, trains=True) as run:
        assert run.device == device
        if device.type == "cuda":
            assert torch.cuda.current_device() == device.index
