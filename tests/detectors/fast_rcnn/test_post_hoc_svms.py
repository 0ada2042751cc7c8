"""Fast R-CNN whose softmax gives way to SVMs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.errors import UserError
from detkit.runs.predictor import load_detector
from detkit.structures import ImageBatch
from detkit.workflows.train import train

SMALL = [
    "detector.backbone={type: alexnet, width: 0.0625, weights: none}",
    "detector.proposals={type: sliding_window, "
    "windows: {type: relative, scales: [0.2, 0.4], ratios: [1.0], stride: 0.5}}",
    "data.classes=[disc, ring, square, star, triangle]",
    "data.resize={short_px: 96, long_px: 200}",
    "data.train={type: synthetic, num_images: 4}",
    "data.val={type: synthetic, num_images: 2, seed: 1}",
    "data.workers=0",
    "train.epochs=1",
    "train.precision=fp32",
    "device=cpu",
]


def small(*more: str) -> Config:
    return load_config("fast_rcnn_alexnet_svm_voc07", [*SMALL, *more])


def model_of(config: Config) -> FastRCNN:
    model = build_detector(config.detector, 5, seed=0)
    assert isinstance(model, FastRCNN)
    return model.eval()


def image() -> ImageBatch:
    pixels = torch.randint(
        0, 255, (1, 3, 96, 128), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    boxes = torch.tensor([[0.0, 0, 60, 60], [40, 20, 120, 90]])
    return ImageBatch(pixels, ((96, 128),), ((96, 128),), (boxes,))


def test_svms_decide_once_they_are_learned() -> None:
    model = model_of(small("detector.head.score_threshold=0.0", "detector.head.nms_iou=1.0"))
    (softmax,) = model.detect(image())
    plain = model_of(
        small("detector.svms=null", "detector.head.score_threshold=0.0", "detector.head.nms_iou=1.0")
    )
    (expected,) = plain.detect(image())
    assert torch.equal(softmax.scores, expected.scores)  # as long as nothing was learned
    svms = model.roi_head.predictor.svms
    assert svms is not None
    width = svms.cls_score.in_features
    svms.fill(torch.zeros(5, width), 0.1 * torch.arange(5), [True] * 5, 1.0)
    (found,) = model.detect(image())
    torch.testing.assert_close(found.scores.unique(), (0.1 * torch.arange(5)).sigmoid())
    order, other = (torch.argsort(one.labels * 1000 + one.boxes[:, 0]) for one in (found, softmax))
    torch.testing.assert_close(found.boxes[order], softmax.boxes[other])  # the network's own boxes


def test_they_are_learned_after_the_network_and_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert train(small(), out=folder) is not None
    model = load_detector(folder / "model.safetensors").model
    assert isinstance(model, FastRCNN)
    assert model.roi_head.predictor.svms is not None
    assert model.roi_head.predictor.svms.is_fitted
    before = load_file(folder / "model.safetensors")
    capsys.readouterr()
    train(small(), out=folder, resume=True)
    assert "svms: done before" in capsys.readouterr().err
    after = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_custom_head_has_no_vectors_to_learn_from() -> None:
    with pytest.raises(UserError, match="svms needs a head of detkit's own"):
        small("detector.head={type: custom, target: 'a.b:c'}")
