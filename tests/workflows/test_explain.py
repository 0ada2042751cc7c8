from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.inference.save_model import save_model
from detkit.workflows.explain import PAGE, explain

SMALL = [
    "detector.backbone.width=0.125",
    "detector.proposals.channels=16",
    "detector.head.channels=16",
    "data.resize={short_px: 64, long_px: 96}",
    "device=cpu",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an untrained model and a dataset."""
    folder = tmp_path_factory.mktemp("explain")
    config = load_config("faster_rcnn_resnet18_synthetic", SMALL)
    save_model(
        folder / "model.safetensors",
        build_detector(config.detector, 5, seed=0),
        classes=config.data.classes,
        category_ids=range(5),
        config_yaml=dump_config(config),
    )
    write_synthetic(folder / "data", "coco", 1, 1)
    return folder


def test_a_region_is_explained_though_nothing_is_detected_there(folder: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    image = next((folder / "data/val").glob("*.jpg"))
    found = explain(
        folder / "model.safetensors",
        image,
        box=(10, 10, 60, 50),
        label="ring",
        methods=("saliency", "gradcam"),
        out=tmp_path / "out",
        device="cpu",
        on_image=lambda done, total: steps.append((done, total)),
    ).to_json()
    assert set(found) == {"image", "target", "methods", "checks", "out"}
    assert found["target"]["label"] == "ring"
    assert found["target"]["box"] == [10, 10, 60, 50]
    assert [own["name"] for own in found["methods"]] == ["saliency", "gradcam"]
    for own in found["methods"]:
        assert (own["file"] is None) == (own["reason"] is not None)
        assert own["file"] is None or Path(own["file"]).stat().st_size > 0
    assert set(found["checks"]["saliency"]) == {
        "randomisation",
        "deletion_auc",
        "insertion_auc",
        "pointing",
        "completeness",
        "failed",
    }
    assert len(found["checks"]["saliency"]["randomisation"]) == 6
    assert set(found["checks"]["random"]) == {"deletion_auc", "insertion_auc"}
    page = (tmp_path / "out" / PAGE).read_text("utf-8")
    assert "Why ring?" in page
    assert "<script" not in page
    assert all(done <= total for done, total in steps)


def test_a_coordinate_has_no_curves(folder: Path, tmp_path: Path) -> None:
    image = next((folder / "data/val").glob("*.jpg"))
    settings = {"box": (10, 10, 60, 50), "label": "ring", "output": "x2", "device": "cpu"}
    found = explain(
        str(folder / "model.safetensors"),
        str(image),
        methods=("saliency", "drise"),
        out=tmp_path / "out",
        **settings,  # type: ignore[arg-type]
    ).to_json()
    assert found["checks"]["saliency"]["deletion_auc"] is None
    assert "random" not in found["checks"]
    assert "explains a detection" in found["methods"][1]["reason"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box": (50, 10, 20, 60)}, "box: expected x1,y1,x2,y2"),
        ({"box": (5000, 10, 5020, 60), "label": "ring"}, "box: lies outside the image"),
        ({"label": "cat"}, "class: the model knows disc, ring"),
        ({"methods": ("lime",)}, "method: expected some of saliency"),
        ({"masks": 0}, "masks: expected at least 1"),
    ],
)
def test_what_is_wrong_is_said_before_there_is_a_folder(
    folder: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    image = next((folder / "data/val").glob("*.jpg"))
    with pytest.raises(UserError, match=message):
        explain(folder / "model.safetensors", image, out=tmp_path / "out", device="cpu", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_labels_are_of_the_image(folder: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(next((folder / "data/val").glob("*.jpg")), tmp_path / "other.jpg"))
    with pytest.raises(UserError, match=r"has 0 images with the name other\.jpg"):
        explain(
            folder / "model.safetensors",
            image,
            box=(9, 9, 40, 40),
            labels=folder / "data",
            out=tmp_path / "out",
        )
