"""No command runs code because a model file or a run's folder names it, unless --allow-custom says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.builder import build_detector
from detkit.inference.save_model import save_model
from detkit.runs.predictor import build_predictor
from tests.workflows.made_run import make_run

SMALL = (
    "device=cpu",
    "detector.backbone.width=0.125",
    "detector.proposals.channels=16",
    "data.train.num_images=2",
    "data.val.num_images=2",
    "data.resize={short_px: 64, long_px: 96}",
    "data.workers=0",
    "train.precision=fp32",
    "train.epochs=1",
    "train.batch_size=2",
)
NECK = 'detector.neck={type: custom, target: "strange_parts:Neck", args: {width: 8}}'
ANCHORS = "detector.proposals.anchors.sizes_px=[[8], [16], [32], [64], [128]]"
DATA = 'data.val={type: custom, target: "strange_parts:images"}'
MODULE = """
from pathlib import Path
(Path(__file__).parent / "ran").touch()
from tests.detectors.own_parts import Neck
def images(classes):
    from detkit.config.load import load_config
    from detkit.data.datasets.builder import open_validation_set
    name, small = "faster_rcnn_resnet18_synthetic", ["data.val.num_images=30"]
    return open_validation_set(load_config(name, small).data)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model whose neck is custom, a YAML that describes it, images and two runs."""
    (tmp_path / "strange_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = load_config("faster_rcnn_resnet18_synthetic", [*SMALL, NECK, ANCHORS])
    (tmp_path / "mine.yaml").write_text(dump_config(config))
    classes = config.data.classes
    save_model(
        tmp_path / "model.safetensors",
        build_detector(config.detector, len(classes), pretrained=False),
        classes=classes,
        category_ids=range(1, len(classes) + 1),
        config_yaml=dump_config(config),
    )
    write_synthetic(tmp_path / "photos", "coco", 1, 1)
    for name in ("one", "two"):
        make_run(tmp_path / name, 0.5)
        text = (tmp_path / name / "config.yaml").read_text()
        start = text.index("\n  val:")
        end = text.index("\n  invalid_boxes", start)
        text = f'{text[:start]}\n  val: {{type: custom, target: "strange_parts:images"}}{text[end:]}'
        (tmp_path / name / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    forget_module(tmp_path)
    yield tmp_path
    forget_module(tmp_path)


def forget_module(folder: Path) -> None:
    sys.modules.pop("strange_parts", None)
    (folder / "ran").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "model.safetensors", "photos", "--out", "out"],
        ["eval", "faster_rcnn_resnet18_synthetic", *SMALL[:-2], "--weights", "model.safetensors"],
        ["propose", "model.safetensors", "photos", "--out", "out.safetensors"],
        ["compress", "model.safetensors", "--fc6", "4", "--out", "out.safetensors"],
        ["report", "one"],
        ["compare", "one", "two"],
    ],
    ids=lambda command: command[0],
)
def test_code_runs_with_the_flag_alone(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "'strange_parts:" in said
    assert "--allow-custom" in said
    assert not (folder / "ran").exists()
    status = main([*command, "--allow-custom"])
    said = capsys.readouterr().err
    assert "runs strange_parts:" in said
    assert (folder / "ran").exists()
    assert status == 0, said


def test_the_users_own_yaml_lets_the_parts_run_that_it_names_itself(folder: Path) -> None:
    assert main(["eval", "mine.yaml", "--weights", "model.safetensors", "--out", "out"]) == 0
    assert (folder / "ran").exists()


def test_a_model_of_the_users_own_parts_is_evaluated_in_the_same_command(folder: Path) -> None:
    assert main(["train", "mine.yaml", "--out", "run"]) == 0
    assert (folder / "run" / "report.html").is_file()


def test_training_from_a_model_file_runs_no_code_of_it(folder: Path) -> None:
    usual = ["train", "faster_rcnn_resnet18_synthetic", *SMALL, "--from", "model.safetensors", "--out", "run"]
    assert main(usual) == 0
    assert not (folder / "ran").exists()


def test_python_says_it_by_an_argument(folder: Path) -> None:
    predictor = build_predictor("model.safetensors", "cpu", allow_custom=True)
    (found,) = predictor.predict(sorted((folder / "photos").rglob("*.jpg"))[:1])
    assert found.boxes.shape[1] == 4
