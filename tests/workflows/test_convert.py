from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.annotations.image_files import require_images
from detkit.annotations.writers import Format
from detkit.data.datasets.readers import config_of_sets, read_set
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from detkit.errors import UserError
from detkit.workflows import convert as module
from detkit.workflows.convert import convert


def corners(truth: AnnotationSet) -> np.ndarray:
    return to_corners(truth.boxes, truth.box_format)


@pytest.mark.parametrize("source", ["voc", "coco", "yolo"])
@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_boxes_images_and_classes_survive(tmp_path: Path, source: Format, to: Format) -> None:
    write_synthetic(tmp_path / "from", source, 3, 2, extension=".png")
    result = convert(str(tmp_path / "from"), to=to, out=tmp_path / "to")
    assert {name: part["images"] for name, part in result["parts"].items()} == {"train": 3, "val": 2}
    found = detect_format(tmp_path / "to")
    assert found.format == to
    drawn = SyntheticSet(3, 0).annotations()
    again = read_set(config_of_sets(found, ["train"]), drawn.classes)
    np.testing.assert_allclose(corners(again), corners(drawn), atol=1e-3)
    assert again.labels.tolist() == drawn.labels.tolist()
    pictures = sorted((tmp_path / "from").rglob("*.png"))
    copies = sorted((tmp_path / "to").rglob("*.png"))
    assert [p.read_bytes() for p in pictures] == [p.read_bytes() for p in copies]


def test_labelme_files_lie_beside_their_images(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "from", "coco", 2, 1)
    convert(str(tmp_path / "from"), to="labelme", out=tmp_path / "to")
    (file, *_) = sorted((tmp_path / "to" / "train").glob("*.json"))
    content = json.loads(file.read_text())
    truth = SyntheticSet(2, 0).annotations()
    assert (file.parent / content["imagePath"]).is_file()
    assert [shape["label"] for shape in content["shapes"]] == [
        truth.classes[label] for label in truth.labels[: truth.offsets[1]]
    ]
    assert content["shapes"][0]["points"] == [corners(truth)[0, :2].tolist(), corners(truth)[0, 2:].tolist()]


@pytest.mark.parametrize("to", ["voc", "labelme"])
def test_the_embedded_dataset_is_written_on_request(
    tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NUM_SYNTHETIC", {"train": 3, "val": 1})
    result = convert("synthetic", to=to, out=tmp_path / "to")  # type: ignore[arg-type]
    assert result["parts"]["train"]["images"] == 3
    assert len(list((tmp_path / "to").rglob("*.jpg"))) == 4


def test_two_images_of_one_name_are_not_written_over_each_other(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "from", "coco", 1, 1)
    file = tmp_path / "from" / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    image = tmp_path / "from" / "val" / content["images"][0]["file_name"]
    image.rename(image.with_name("train_000000.jpg"))
    content["images"][0]["file_name"] = "train_000000.jpg"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="two images would become"):
        convert(str(tmp_path / "from"), to="voc", out=tmp_path / "to")


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        convert("synthetic", to="voc", out=tmp_path)


ODD_IMAGES = ("a\nb", " a", "%u0041", "x" * 250, "\x1b[31m", "A", "a")
ODD_CLASSES = ("../../../escaped", "\x1b[31m", "a/b", "..", "x" * 300)


@pytest.mark.parametrize("to", ["voc", "coco", "yolo", "labelme"])
def test_any_names_are_written_within_the_folder_and_read_again(tmp_path: Path, to: Format) -> None:
    write_synthetic(tmp_path / "from", "coco", len(ODD_IMAGES), 1, extension=".png")
    file = tmp_path / "from" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for image, name in zip(content["images"], ODD_IMAGES, strict=True):
        old = tmp_path / "from" / "train" / image["file_name"]
        old.rename(old.with_name(f"{name}.png"))
        image["file_name"] = f"{name}.png"
    file.write_text(json.dumps(content))
    for one in (file, file.with_name("instances_val.json")):
        content = json.loads(one.read_text())
        for category, name in zip(content["categories"], ODD_CLASSES, strict=False):
            category["name"] = name
        one.write_text(json.dumps(content))
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "to"
    convert(str(tmp_path / "from"), to=to, out=out)
    assert all(new.is_relative_to(out) for new in set(tmp_path.rglob("*")) - before)
    if to == "labelme":
        pairs = [(p.with_name(json.loads(p.read_text())["imagePath"]), p) for p in out.glob("train/*.json")]
        assert len(pairs) == len(ODD_IMAGES)
        assert all(image.is_file() and image.stem == labels.stem for image, labels in pairs)
        return
    read = read_set(config_of_sets(detect_format(out), ["train"]))
    require_images(read)
    assert read.num_images == len(ODD_IMAGES)
    assert read.num_objects == SyntheticSet(len(ODD_IMAGES), 0).annotations().num_objects


def test_images_that_a_folder_would_merge_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "from", "coco", 1, 1)
    for split, name in (("train", "a"), ("val", "A")):
        file = tmp_path / "from" / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        image = tmp_path / "from" / split / content["images"][0]["file_name"]
        image.rename(image.with_name(f"{name}.jpg"))
        content["images"][0]["file_name"] = f"{name}.jpg"
        file.write_text(json.dumps(content))
    convert(str(tmp_path / "from"), to="voc", out=tmp_path / "to")
    monkeypatch.setattr("detkit.names._tells_case", lambda folder: False)
    with pytest.raises(UserError, match=r"a\.jpg and .*A\.jpg are one file"):
        convert(str(tmp_path / "from"), to="voc", out=tmp_path / "again")
