from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.annotations.detect import _image_folder, also_there, detect_format
from detkit.annotations.exports.csv_table import WANTED
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


def test_of_folders_with_the_image_the_first_by_name_is_taken(tmp_path: Path) -> None:
    for name in "hcbgfdea":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"")
    file = tmp_path / "labels.json"
    assert _image_folder(file, [{"file_name": "1.jpg"}], [tmp_path], "train") == tmp_path / "a"


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_a_dataset_may_lie_three_folders_deep(depth: int, tmp_path: Path) -> None:
    inside = tmp_path.joinpath(*["only"] * depth)
    (inside / "Annotations").mkdir(parents=True)
    (inside / "Annotations" / "a.xml").write_text("<annotation/>")
    if depth == 4:
        with pytest.raises(UserError) as caught:
            detect_format(tmp_path)
        assert str(caught.value).startswith(
            f"{tmp_path}: it holds only/ (1 no ending); no dataset recognised. Looked for:\n  VOC: "
        )
    else:
        assert detect_format(tmp_path).root == inside


def test_what_a_folder_holds_is_said_by_kind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("1.png", "2.PNG", "3.txt", "4", "5.csv", "6.csv", "7.csv", "8.txt"):
        (tmp_path / "b" / name).touch()
    (tmp_path / "c.md").touch()
    with pytest.raises(UserError) as caught:
        detect_format(tmp_path)
    said = str(caught.value).split(";")[0]
    assert said == f"{tmp_path}: it holds a/ (empty), b/ (3 .csv, 2 .png, 2 .txt), c.md"


def test_files_that_are_no_dataset_say_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(UserError) as caught:
        detect_format(tmp_path / "a.csv")
    assert str(caught.value) == f"{tmp_path / 'a.csv'}: no table of boxes: wanted is {WANTED}"
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(UserError) as caught:
        detect_format(tmp_path / "a.json")
    assert str(caught.value) == (
        f'{tmp_path / "a.json"}: not a COCO file: needs "images", "annotations" with boxes, and '
        '"categories"; nor a file of Label Studio or LabelMe'
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("boxes.csv", "all"),
        ("train_labels.csv", "train"),
        ("labels-Validation.csv", "val"),
        ("testing.csv", "test"),
        ("trained.csv", "all"),
        ("valid/_annotations.csv", "val"),
        ("train/test.csv", "test"),
    ],
)
def test_the_name_of_a_table_says_its_split(name: str, split: str, tmp_path: Path) -> None:
    tmp_path = tmp_path / "set"  # the folder's own name counts, too
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("a.jpg,1,2,3,4,cat\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    (found,) = detect_format(tmp_path / name).sets
    assert (found.name, found.annotations, found.split) == (split, tmp_path / name, "")
    assert found.images == tmp_path / "images"


def test_where_no_image_is_found_they_are_taken_to_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "boxes.csv").write_text("a.jpg,1,2,3,4,cat\n")
    assert detect_format(tmp_path / "sub" / "boxes.csv").sets[0].images == tmp_path / "sub"


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


def test_of_two_folders_with_the_image_the_one_called_images_is_taken(tmp_path: Path) -> None:
    for folder in ("drawn", "Images", "zoo"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "a.jpg").touch()
    (tmp_path / "set" / "boxes.csv").write_text("a.jpg,1,2,3,4,cat\n")
    (found,) = detect_format(tmp_path / "set").sets
    assert found.images == tmp_path / "set" / "Images"
