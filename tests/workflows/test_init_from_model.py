"""`detkit init --from`: a config that a trained detector fits, which the training then starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.models.detection import FasterRCNN, fasterrcnn_mobilenet_v3_large_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from detkit.__main__ import main
from detkit.config.load import load_config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.runs.predictor import load_detector
from detkit.workflows.import_model import import_model
from detkit.workflows.init import init


@pytest.fixture(scope="module", params=["resnet", pytest.param("mobilenet", marks=pytest.mark.slow)])
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model file of a detector of torchvision's that knows cats and stars."""
    folder = tmp_path_factory.mktemp("imported")
    torch.manual_seed(0)
    if request.param == "resnet":
        theirs = FasterRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes=3)
    else:
        theirs = fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=3)
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    return import_model(folder / "theirs.pth", "torchvision", classes=("cat", "star")).out


def test_the_config_is_the_files_but_for_data_and_training(imported: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 3, 2)
    found = init(tmp_path / "shapes", out=tmp_path / "mine.yaml", from_weights=imported)
    mine, theirs = load_config(tmp_path / "mine.yaml"), load_detector(imported).config
    assert mine.detector == theirs.detector
    assert (mine.data.resize, mine.train.precision) == (theirs.data.resize, theirs.train.precision)
    assert mine.data.classes == ("disc", "ring", "square", "star", "triangle")
    assert mine.train.optimizer == load_config("faster_rcnn_resnet18_fpn").train.optimizer  # type: ignore[union-attr]
    assert "it knows star of the classes; outputs for others start anew" in found["notes"]
    assert f"detkit train THIS_FILE --from {imported}" in (tmp_path / "mine.yaml").read_text("utf-8")


def test_what_is_trained_from_it_keeps_the_rows_of_shared_classes(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 2, 1)
    place = str(tmp_path / "mine.yaml")
    assert main(["init", str(tmp_path / "shapes"), "--from", str(imported), "-o", place]) == 0
    assert f"then detkit train {place} --from {imported}" in " ".join(capsys.readouterr().out.split())
    little = [
        "train.epochs=1",
        "train.optimizer.lr=0.000000001",
        "data.resize.short_px=64",
        "data.resize.long_px=86",
    ]
    out = tmp_path / "run"
    assert main(["train", place, "--from", str(imported), "--out", str(out), *little]) == 0
    files = [read_model_file(file) for file in (imported, out / "model.safetensors")]
    before, after = (file.state for file in files)
    star, background = files[1].classes.index("star"), len(files[1].classes)
    name = "roi_head.predictor.cls_score.weight"
    torch.testing.assert_close(after[name][star], before[name][1], atol=1e-6, rtol=0)
    torch.testing.assert_close(after[name][background], before[name][2], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        after["neck.layer_blocks.0.0.weight"], before["neck.layer_blocks.0.0.weight"], atol=1e-6, rtol=0
    )


def test_a_detector_is_not_named_beside_it(imported: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 2, 1)
    with pytest.raises(UserError, match="--detector rcnn: with --from the detector is that of"):
        init(tmp_path / "shapes", detector="rcnn", out=tmp_path / "mine.yaml", from_weights=imported)


def test_images_by_class_are_not_for_a_detector_of_boxes(imported: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 6), (number, 9, 9)).save(tmp_path / "pets" / name / f"{name}{number}.png")
    with pytest.raises(UserError, match=r"--from .*theirs\.safetensors: .* images by class"):
        init(tmp_path / "pets", out=tmp_path / "mine.yaml", from_weights=imported)
