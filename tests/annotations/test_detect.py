from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.annotations.detect import also_there, detect_format
from detkit.annotations.found_dataset import FoundSet
from detkit.errors import UserError


def put(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def coco(file_name: str, with_boxes: bool = True) -> str:
    objects = [{"bbox": [0, 0, 1, 1]} if with_boxes else {"caption": "x"}]
    return json.dumps({"images": [{"file_name": file_name}], "annotations": objects, "categories": []})


def test_voc(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        put(tmp_path / year / "Annotations" / "a.xml")
        for name in ("train", "val", "cat_train", "cat_val"):
            put(tmp_path / year / "ImageSets" / "Main" / f"{name}.txt")
    found = detect_format(tmp_path)
    assert (found.format, found.root) == ("voc", tmp_path)
    assert [item.name for item in found.sets] == ["2007_train", "2007_val", "2012_train", "2012_val"]
    assert [item.name for item in detect_format(tmp_path / "VOC2007").sets] == ["train", "val"]
    put(tmp_path / "plain" / "a.xml")
    assert detect_format(tmp_path / "plain").sets == ()
    put(tmp_path / "split" / "train" / "a.xml")
    put(tmp_path / "split" / "valid" / "a.xml")
    assert [item.name for item in detect_format(tmp_path / "split").sets] == ["train", "valid"]
    put(tmp_path / "outer" / "VOCdevkit" / "VOC2007" / "Annotations" / "a.xml")
    assert detect_format(tmp_path / "outer").root == tmp_path / "outer" / "VOCdevkit"


def test_coco_as_published(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put(tmp_path / "annotations" / f"instances_{split}2017.json", coco(f"{split}.jpg"))
        put(tmp_path / "annotations" / f"captions_{split}2017.json", coco(f"{split}.jpg", False))
        put(tmp_path / f"{split}2017" / f"{split}.jpg")
    found = detect_format(tmp_path)
    assert found.format == "coco"
    assert found.sets == tuple(
        FoundSet(split, tmp_path / f"{split}2017", tmp_path / "annotations" / f"instances_{split}2017.json")
        for split in ("train", "val")
    )
    single = detect_format(tmp_path / "annotations" / "instances_val2017.json")
    assert single.sets == found.sets[1:]
    with pytest.raises(UserError, match="not a COCO file"):
        detect_format(tmp_path / "annotations" / "captions_val2017.json")


def test_coco_beside_the_images(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        put(tmp_path / split / "_annotations.coco.json", coco("a.jpg"))
        put(tmp_path / split / "a.jpg")
    found = detect_format(tmp_path)
    assert [(item.name, item.images) for item in found.sets] == [
        ("train", tmp_path / "train"),
        ("val", tmp_path / "valid"),
    ]


def test_coco_with_odd_names(tmp_path: Path) -> None:
    put(tmp_path / "one.json", coco("a.jpg"))
    put(tmp_path / "two.json", coco("b.jpg"))
    put(tmp_path / "photos" / "a.jpg")
    put(tmp_path / "images" / "b.jpg")
    found = detect_format(tmp_path)
    assert [(item.name, item.images) for item in found.sets] == [
        ("one", tmp_path / "photos"),
        ("two", tmp_path / "images"),
    ]


def test_yolo(tmp_path: Path) -> None:
    put(tmp_path / "a" / "set.yaml", "names: [cat]\ntrain: images/train\nval: images/val")
    found = detect_format(tmp_path / "a")
    assert (found.format, [item.name for item in found.sets]) == ("yolo", ["train", "val"])
    assert detect_format(tmp_path / "a" / "set.yaml").sets == found.sets
    put(tmp_path / "b" / "classes.txt", "cat")
    put(tmp_path / "b" / "images" / "train" / "x.jpg")
    put(tmp_path / "b" / "images" / "val" / "x.jpg")
    assert [item.name for item in detect_format(tmp_path / "b").sets] == ["train", "val"]


def test_nothing_recognised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder is empty; no dataset recognised") as caught:
        detect_format(tmp_path)
    assert all(word in str(caught.value) for word in ("VOC:", "COCO:", "YOLO:"))
    put(tmp_path / "readme.md")
    with pytest.raises(UserError, match=r"holds readme\.md"):
        detect_format(tmp_path)
    with pytest.raises(UserError, match=r"a dataset is a folder, a COCO \.json, a YOLO"):
        detect_format(tmp_path / "readme.md")
    with pytest.raises(UserError, match="does not exist"):
        detect_format(tmp_path / "absent")


def side_by_side(root: Path) -> None:
    put(root / "a_voc" / "Annotations" / "a.xml")
    put(root / "a_voc" / "JPEGImages" / "a.jpg")
    put(root / "b_yolo" / "images" / "train" / "b.jpg")
    put(root / "b_yolo" / "labels" / "train" / "b.txt", "0 0.5 0.5 0.1 0.1\n")
    put(root / "b_yolo" / "data.yaml", "names: [cat]\ntrain: images/train\n")


def test_datasets_in_folders_of_their_own_are_named_and_not_mixed(tmp_path: Path) -> None:
    side_by_side(tmp_path)
    put(tmp_path / "c_coco" / "c.json", coco("c.jpg"))
    with pytest.raises(UserError) as told:
        detect_format(tmp_path)
    assert str(told.value).splitlines() == [
        f"{tmp_path}: several datasets are in it; name one of them:",
        f"  {tmp_path}/a_voc (voc)",
        f"  {tmp_path}/b_yolo/data.yaml (yolo: train)",
        f"  {tmp_path}/c_coco/c.json (coco: c)",
    ]
    for place, name in (("a_voc", "voc"), ("b_yolo/data.yaml", "yolo"), ("c_coco/c.json", "coco")):
        assert detect_format(tmp_path / place).format == name


def test_one_dataset_beside_other_folders_is_taken_with_its_own_names(tmp_path: Path) -> None:
    put(tmp_path / "shots" / "images" / "train" / "b.jpg")
    put(tmp_path / "shots" / "labels" / "train" / "b.txt", "0 0.5 0.5 0.1 0.1\n")
    put(tmp_path / "shots" / "data.yaml", "names: [cat]\ntrain: images/train\n")
    put(tmp_path / "notes" / "read.me")
    assert detect_format(tmp_path).root == tmp_path / "shots"


def test_another_reading_of_a_folder_is_told_with_how_to_choose_it(tmp_path: Path) -> None:
    put(tmp_path / "Annotations" / "a.xml")
    put(tmp_path / "images" / "a.jpg")
    found = detect_format(tmp_path)
    assert (found.format, also_there(found)) == ("voc", [])
    put(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.1 0.1\n")
    put(tmp_path / "data.yaml", "names: [cat]\ntrain: images\n")
    assert detect_format(tmp_path) == found
    assert also_there(found) == [f"  {tmp_path}/data.yaml (yolo: train)"]
    assert detect_format(tmp_path / "data.yaml").format == "yolo"
