from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.yolo import read_yolo
from detkit.errors import UserError


def put(folder: Path, split: str, stem: str, text: str | None, orientation: int = 1) -> None:
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (80, 40)).save(folder / "images" / split / f"{stem}.jpg", exif=exif)
    if text is not None:
        (folder / "labels" / split / f"{stem}.txt").write_text(text)


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}"])
@pytest.mark.parametrize("train", ["images/train", "[images/train]", "./images/train", "../images/train"])
def test_data_yaml(names: str, train: str, tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "1 0.5 0.25 0.5 0.5\n\n0 0.1 0.5 0.2 1.0\n")
    put(tmp_path, "train", "b", None)
    put(tmp_path, "train", "c", "0 0.5 0.5 0.1 0.2", orientation=6)
    (tmp_path / "data.yaml").write_text(f"names: {names}\ntrain: {train}\nval: images/val\n")
    truth = read_yolo(tmp_path, "train")
    assert truth.classes == ("cat", "dog")
    assert truth.category_ids.tolist() == [0, 1]
    assert truth.image_files.tolist() == ["images/train/a.jpg", "images/train/b.jpg", "images/train/c.jpg"]
    assert truth.sizes.tolist() == [[40, 80], [40, 80], [80, 40]]
    assert truth.offsets.tolist() == [0, 2, 2, 3]
    np.testing.assert_allclose(truth.boxes, [[20, 0, 40, 20], [0, 0, 16, 40], [18, 32, 4, 16]])
    np.testing.assert_allclose(truth.areas, [800, 640, 64])
    assert truth.box_format == "coco"
    with pytest.raises(UserError, match="images/val: the folder or list of images does not exist"):
        read_yolo(tmp_path / "data.yaml", "val")
    with pytest.raises(UserError, match="no split 'test'; it may be one of: train, val"):
        read_yolo(tmp_path, "test")


def test_folders_with_classes_txt(tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "1 0.5 0.5 1 1")
    put(tmp_path, "val", "b", "0 0.5 0.5 1 1")
    (tmp_path / "classes.txt").write_text("cat\ntraffic light\n")
    assert read_yolo(tmp_path, "val").image_files.tolist() == ["images/val/b.jpg"]
    truth = read_yolo(tmp_path, "train", ["emu", "traffic light"])
    assert truth.labels.tolist() == [1]
    assert truth.category_ids.tolist() == [2, 1]


def test_names_are_the_text_that_stands_there(tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "0 0.5 0.5 1 1\n5 0.5 0.5 1 1")
    names = "[1.10, 'no', yes, 1e3, 007, null]"
    (tmp_path / "data.yaml").write_text(f"path:\nnames: {names}\ntrain: images/train\nval: ~\ntest:\n")
    assert read_yolo(tmp_path, "train").classes == ("1.10", "no", "yes", "1e3", "007", "null")
    with pytest.raises(UserError, match="no split 'val'; it may be one of: train;"):
        read_yolo(tmp_path, "val")


def test_lists_of_images_and_undivided_folders(tmp_path: Path) -> None:
    put(tmp_path, ".", "a", "0 0.5 0.5 1 1")
    put(tmp_path, ".", "b", "0 0.5 0.5 1 1")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert read_yolo(tmp_path, "all").num_images == 2
    (tmp_path / "some.txt").write_text("./images/b.jpg\n")
    assert read_yolo(tmp_path, "some.txt").image_files.tolist() == ["images/b.jpg"]


def test_polygons_become_their_boxes(tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "0 0.1 0.5 0.5 0.25 0.3 0.75")
    (tmp_path / "classes.txt").write_text("cat\n")
    np.testing.assert_allclose(read_yolo(tmp_path, "train").boxes, [[8, 10, 32, 20]])


def test_classes_and_ignored_ones(tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "0 0.5 0.5 1 1\n1 0.5 0.5 1 1")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert read_yolo(tmp_path, "train", None, ["cat"]).classes == ("dog",)
    with pytest.raises(UserError, match=r"a\.txt: object 2: class 'dog' is not in data\.classes"):
        read_yolo(tmp_path, "train", ["cat"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 1 1\n0 0.5 0.5 1", r"a\.txt:2: expected a class and 4 numbers .*found 3 numbers"),
        ("0 0.5 0.5 1 1 0.9", "found 5 numbers"),
        ("cat 0.5 0.5 1 1", r"a\.txt:1: a line begins with the number of a class; found 'cat'"),
        ("4 0.5 0.5 1 1", r"a\.txt:1: class 4 is not in .*classes\.txt, which has 1 classes \(0 to 0\)"),
        ("0 0.5 x 1 1", "expected numbers after the class"),
    ],
)
def test_malformed_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    put(tmp_path, "train", "a", text)
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match=message):
        read_yolo(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [", "not valid YAML"),
        ("train: x", "needs `names`"),
        ("names: cat\ntrain: x", "must be a list"),
        ("names: {cat: 0}\ntrain: x", "must be a list"),
        ("names: {-1: cat}\ntrain: x", "must be a list"),
        ("names: {99999999999: cat}\ntrain: x", "must be a list"),
        ("names: [a]\nnames: [b]\ntrain: x", "my.yaml:2: names: repeated key; it stands in line 1 already"),
        ("names: !!python/name:os.system\ntrain: x", "tags such as .* are not allowed"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [" + "*b, " * 80_000 + "]\nnames: [a]", "more than 200000 values"),
        ("names: " + "[" * 1000 + "]" * 1000, "nested more than"),
    ],
)
def test_a_broken_data_yaml(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_yolo(tmp_path / "my.yaml", "train")
    with pytest.raises(UserError, match="no YOLO dataset"):
        read_yolo(tmp_path / "absent", "train")
