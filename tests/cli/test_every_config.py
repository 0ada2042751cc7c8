"""No shipped config ends in an error of ours, whichever command it is given to before a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.cli.exits import DONE, NO, WRONG_INPUT
from detkit.config.load import config_names, load_config
from detkit.config.schema import Config
from detkit.data.datasets.config import DatasetConfig
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.config import DetectorConfig
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.models.necks.config import FPNConfig
from detkit.models.roi.head_config import HeadConfig
from detkit.training.loop.config import GradientConfig
from detkit.training.staged.config import StagedConfig

FOR_BOXES = [name for name in config_names() if "keypoints" not in name]
"""Configs that a dataset without key points is enough for."""
ONE_OF_EACH = {
    "classifier_googlenet_imagenet",
    "classifier_resnet18_folder",
    "dpm_cnn_alexnet_voc07",
    "fast_rcnn_alexnet_svm_voc07",
    "fast_rcnn_alexnet_voc07_multiscale",
    "fast_rcnn_resnet101_c4_voc07",
    "faster_rcnn_resnet18_c4",
    "faster_rcnn_resnet18_synthetic_alternating",
    "faster_rcnn_vgg16_voc07",
    "overfeat_resnet18_synthetic",
    "rcnn_alexnet_voc07",
    "rcnn_resnet18_synthetic",
    "sppnet_alexnet_voc07",
}
"""The other configs are combinations of what is in these."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_synthetic(folder, "voc", 6, 2)
    return folder


def small(config: Config) -> list[str]:
    """Return overrides that make a detector, its images and its batches small."""
    changes = ["device=cpu", "threads=1", "train.precision=fp32", "data.workers=0"]
    if isinstance(config.train, GradientConfig):
        changes += ["train.batch_size=2", "train.accumulate=1"]
    if isinstance(config.train, StagedConfig):
        changes += ["train.fine_tune.batch_size=8"]
    return changes + small_images(config) + small_parts(config.detector)


def small_images(config: Config) -> list[str]:
    changes = ["data.resize={short_px: 64, long_px: 96}"] if config.data.resize else []
    if config.detector.image_scales_px:
        changes += ["detector.scales_px=[48, 64]"]
    augment = config.data.train.augment if isinstance(config.data.train, DatasetConfig) else ()
    if any(change.type == "multi_scale" for change in augment):
        changes += ["data.train.augment=[{type: flip}, {type: multi_scale, short_px: [48, 64]}]"]
    if config.detector.classifies_images:
        crops = "[{type: flip}, {type: scale_crop, short_px: [64, 96], size_px: 64}]"
        changes += ["detector.crop_px=64", f"data.train.augment={crops}"]
    return changes


def small_parts(detector: DetectorConfig) -> list[str]:
    changes = []
    if hasattr(detector, "backbone"):
        changes += ["detector.backbone.width=0.0625", "detector.backbone.weights=none"]
    if detector.external_proposals is not None:
        changes += ["detector.proposals={type: sliding_window, max_boxes: 20}"]
    if isinstance(getattr(detector, "neck", None), FPNConfig):
        changes += ["detector.neck.channels=32"]
    if isinstance(getattr(detector, "head", None), HeadConfig):
        changes += ["detector.head.batch_per_image=16"]
    if isinstance(detector, RCNNConfig):
        changes += ["detector.regions={type: warp, size: 64, context_px: 5}"]
    return changes


def begun(name: str, dataset: Path, file: Path) -> None:
    """Start a config from a shipped one."""
    assert main(["init", str(dataset), "--detector", name, "-o", str(file)]) == DONE


@pytest.mark.parametrize("name", FOR_BOXES)
def test_init_starts_from_every_config_and_the_file_loads(
    name: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    begun(name, dataset, file)
    for shown in (str(file), name):
        capsys.readouterr()
        assert main(["config", "show", shown, "--comments"]) == DONE
        assert capsys.readouterr().out.startswith("version: 1")
    template, mine = load_config(name), load_config(file)
    assert mine.detector.type == template.detector.type
    assert mine.train.type == template.train.type
    assert mine.data.classes == ("disc", "ring", "square", "star", "triangle")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in ONE_OF_EACH else pytest.mark.slow) for name in FOR_BOXES],
)
def test_a_config_for_a_small_dataset_is_checked_planned_and_drawn(
    name: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    begun(name, dataset, file)
    changes = small(load_config(file))
    for command, expected in (
        (["check", str(file), *changes], {DONE, NO}),
        (["plan", str(file), *changes], {DONE, NO, WRONG_INPUT}),
        (["show-data", str(file), *changes, "--out", str(tmp_path / "drawn")], {DONE}),
    ):
        capsys.readouterr()
        status = main(command)
        told = capsys.readouterr()
        assert status in expected, told.err
        assert told.err.startswith("error: train.type: ") if status == WRONG_INPUT else told.out


@pytest.mark.parametrize("name", [name for name in config_names() if "synthetic" not in name])
@pytest.mark.parametrize("command", ["check", "plan", "show-data", "train"])
def test_a_config_whose_data_are_missing_says_which(
    command: str,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, name]) == WRONG_INPUT
    assert capsys.readouterr().err.startswith("error: ")
