"""Each mistake of a user gets one screen that says where and what to do, and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.data.synthetic.dataset import write_synthetic

CLASSES = "[disc, ring, square, star, triangle]"
SMALL = """\
version: 1
device: cpu
detector:
  type: faster_rcnn
  backbone: {{type: resnet, depth: 18, width: 0.125}}
  proposals: {{type: rpn, channels: 8}}
  regions: {{type: roi_align, size: 2}}
  head: {{type: layer4}}
data:
  classes: {classes}
  train: {{type: voc, root: "{root}", sets: [train]}}
  val: {{type: voc, root: "{root}", sets: [val]}}
  resize: {{short_px: 64, long_px: 96}}
  workers: 0
train: {{type: gradient, epochs: 1, optimizer: {{type: sgd, lr: 0.01}}, precision: fp32}}
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "shapes"
    write_synthetic(root, "voc", 4, 2)
    return root


def config_for(root: Path, classes: str = CLASSES) -> str:
    file = root.parent / "shapes.yaml"
    file.write_text(SMALL.format(root=root, classes=classes), encoding="utf-8")
    return str(file)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must refuse, and return what it says."""
    status = main(list(arguments))
    said = capsys.readouterr().err
    assert status == 2, said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 32
    assert "error: " in said
    return said


def train(capsys: pytest.CaptureFixture[str], config: str, *overrides: str) -> str:
    return refused(capsys, "train", config, *overrides, "--out", str(Path(config).parent / "run"))


def test_wrong_config(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config_for(dataset)
    Path(file).write_text(Path(file).read_text("utf-8").replace("depth: 18", "dept: 18"), encoding="utf-8")
    said = train(capsys, file, "train.epochs=many")
    assert f'{file}:5: detector.backbone.dept: unknown key; did you mean "depth"?' in said
    assert "override train.epochs=many: train.epochs: expected a whole number" in said


@pytest.mark.parametrize("command", ["train", "show-data"])
def test_missing_config(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.yaml: no such file" in refused(capsys, command, "nowhere.yaml")
    assert "did you mean" in refused(capsys, command, "faster_rcnn_resnet50_fpn_voc08")


def test_missing_image(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "JPEGImages" / "train_000001.jpg").unlink()
    assert "train_000001" in train(capsys, config_for(dataset))


def test_broken_image(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = dataset / "JPEGImages" / "train_000001.jpg"
    image.write_bytes(image.read_bytes()[:500])
    assert "train_000001.jpg" in train(capsys, config_for(dataset))


def test_class_missing_from_the_config(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = train(capsys, config_for(dataset, "[disc, ring, square, star]"))
    assert "triangle" in said
    assert "classes" in said


def test_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing").mkdir()
    assert "nothing" in train(capsys, config_for(tmp_path / "nothing"))
    said = refused(capsys, "init", str(tmp_path / "nothing"), "-o", str(tmp_path / "new.yaml"))
    assert "the folder is empty" in said
    assert not (tmp_path / "new.yaml").exists()


def test_box_outside_its_image(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = dataset / "Annotations" / "train_000002.xml"
    text = file.read_text("utf-8")
    start, end = text.index("<xmax>") + 6, text.index("</xmax>")
    file.write_text(f"{text[:start]}9999{text[end:]}", encoding="utf-8")
    said = train(capsys, config_for(dataset))
    assert "train_000002" in said
    assert "invalid_boxes" in said


def test_malformed_annotation(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "Annotations" / "train_000000.xml").write_text("<annotation><object>", encoding="utf-8")
    assert "train_000000.xml" in train(capsys, config_for(dataset))


def test_results_are_not_overwritten(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = dataset.parent / "run"
    run.mkdir()
    (run / "precious.txt").touch()
    assert "never overwritten" in train(capsys, config_for(dataset))
    config = Path(config_for(dataset))
    assert "never overwritten" in refused(capsys, "init", str(dataset), "-o", str(config))


def test_resume_without_a_run(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--out" in refused(capsys, "train", config_for(dataset), "--resume")


def test_missing_weights(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = str(dataset.parent / "none.safetensors")
    assert "none.safetensors" in refused(capsys, "eval", config_for(dataset), "--weights", weights)
    assert "none.safetensors" in refused(capsys, "predict", weights, str(dataset / "JPEGImages"))
    assert "no such file" in refused(capsys, "predict", weights, "nowhere/*.jpg")
    assert "none.safetensors" in train(capsys, config_for(dataset), "--from", weights)


def test_weights_that_are_none(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = dataset.parent / "bad.safetensors"
    weights.write_bytes(b"not a model")
    assert "bad.safetensors" in refused(capsys, "predict", str(weights), str(dataset / "JPEGImages"))


def test_missing_result_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gt.json").write_text("{", encoding="utf-8")
    arguments = ["--dt", str(tmp_path / "dt.json"), "--metric", "coco"]
    assert "gt.json" in refused(capsys, "score", "--gt", str(tmp_path / "gt.json"), *arguments)
    assert "no such file" in refused(capsys, "score", "--gt", str(tmp_path / "none.json"), *arguments)
