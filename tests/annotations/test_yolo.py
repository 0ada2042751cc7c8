from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.yolo import read_yolo
from detkit.annotations.yolo_layout import find_data_yaml, has_labels
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
        ("0.9 0.5 0.5 1 1", "begins with the number of a class; found '0.9'"),
        ("-0.5 0.5 0.5 1 1", "begins with the number of a class; found '-0.5'"),
        ("nan 0.5 0.5 1 1", "begins with the number of a class; found 'nan'"),
        ("inf 0.5 0.5 1 1", "begins with the number of a class; found 'inf'"),
        ("9" * 10_000 + " 0.5 0.5 1 1", "begins with the number of a class; found '99"),
        ("1e300 0.5 0.5 1 1", "class 1e300 is not in"),
        ("-1 0.5 0.5 1 1", "class -1 is not in"),
        ("0 nan 0.5 1 1", r"a\.txt: image .*a.jpg, object 1 .cat.: a coordinate is not a number of at most"),
        ("0 0.5 0.5 inf 1", "a coordinate is not a number of at most"),
        ("0 0.5 0.5 1 1e308", "a coordinate is not a number of at most"),
        ("0 0.5 0.5 1 " + "9" * 10_000, "a coordinate is not a number of at most"),
        ("0 0.5 0.5 -0.5 1", "the box ends before it begins"),
        ("0 0.1 0.1 0.9 0.1 0.9 nan", "a coordinate is not a number of at most"),
        ("0 0.1 0.1 inf 0.1 0.9 0.9", "a coordinate is not a number of at most"),
        ("0 " + "x" * 10**6, "expected numbers after the class; found 'xx"),
    ],
)
def test_malformed_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    put(tmp_path, "train", "a", text)
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match=message) as caught:
        read_yolo(tmp_path, "train")
    assert len(str(caught.value)) < 600


def test_a_class_may_be_written_as_a_decimal(tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "1.0 0.5 0.5 1 1\n0e0 0.5 0.5 1 1")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert read_yolo(tmp_path, "train").labels.tolist() == [1, 0]


def test_a_data_yaml_means_what_it_looks_like(tmp_path: Path) -> None:
    put(tmp_path, "train", "a", "1 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: {1: on, 0: 007, 2: yes, 3: 1e-4}\n")
    assert read_yolo(tmp_path, "train").classes == ("007", "on", "yes", "1e-4")


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [", "not valid YAML"),
        ("train: x", "needs `names`"),
        ("names: cat\ntrain: x", "must be a list"),
        (BOMB + "train: x\nnames: *a9", "more than 100000 values"),
        ("names: [a]\ntrain: " + "[" * 20_000, "nested more than 64 deep"),
        ("names: [a]\ntrain: !!python/name:os.system x", "tags such as .* are not allowed"),
        ("names: [a]\nnames: [b]\ntrain: x", r"my\.yaml:2: names: repeated key"),
        ("names: [a]\ntrain: x\n# " + "x" * 2**20, r"my\.yaml: longer than 1,000,000 letters"),
        ("names: [" + "x" * 900_000 + "]\ntrain: x", "the name 'xx.* of class 0 has 900000 letters"),
        ("names: [a, '']\ntrain: x", "the name '' of class 1 is empty"),
        ('names: ["\\ud800"]\ntrain: x', "is not valid Unicode"),
        ("names: [[a], {b: c}]\ntrain: x", r"must be a list of names.*found \[\['a'\], \{'b': 'c'\}\]"),
        ("names: {-1: a}\ntrain: x", "must be a list of names"),
        ("names: {99999999999999999999: a}\ntrain: x", "must be a list of names"),
        ("names: [a]\ntrain: [x, {a: b}]", "train must be a path or a list of paths"),
        ("names: [a]\ntrain: " + "x" * 5000, "the folder or list of images does not exist"),
        ("names: [a]\ntrain: x\npath: " + "y" * 5000, "the folder or list of images does not exist"),
        ("names: {cat: 0}\ntrain: x", "must be a list"),
    ],
)
def test_a_broken_data_yaml(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_yolo(tmp_path / "my.yaml", "train")
    assert len(str(caught.value)) < 800
    with pytest.raises(UserError, match="no YOLO dataset"):
        read_yolo(tmp_path / "absent", "train")


def test_a_split_without_images_says_where_it_looked(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: [images/one, images/two]\n")
    with pytest.raises(UserError) as caught:
        read_yolo(tmp_path, "train")
    one, two = (tmp_path / "images" / name for name in ("one", "two"))
    assert str(caught.value) == f"{tmp_path}: the split 'train' has no images; looked in {one}, {two}"


def test_of_yaml_files_data_yaml_comes_first_and_another_that_is_broken_is_passed_over(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.yaml").write_text("names: [\n")
    (tmp_path / "b.yml").write_text("names: [cat]\n")  # no split
    (tmp_path / "c.yml").write_text("names: [cat]\nval: images/val\n")
    (tmp_path / "d.yaml").write_text("names: [cat]\ntrain: images/train\n")
    assert find_data_yaml(tmp_path) == tmp_path / "c.yml"
    (tmp_path / "data.yaml").write_text("names: [cat]\ntest: images/test\n")
    assert find_data_yaml(tmp_path) == tmp_path / "data.yaml"
    (tmp_path / "data.yaml").write_text("names: [\n")
    assert find_data_yaml(tmp_path) == tmp_path / "data.yaml"
    assert find_data_yaml(tmp_path / "absent.yaml") is None
    assert find_data_yaml(tmp_path / "a.yaml") == tmp_path / "a.yaml"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 .5 .5 .1 .1\n\n3 .5 .5 .1 .1\n", True),
        ("0 .5 .5 .1\n", False),
        ("cat .5 .5 .1 .1\n", False),
        ("0 .5 .5 .1 .1\n01 .5 .5 .1 .1\n", False),
        ("0 .5 .5 .1 x\n", False),
        ("\n", False),
    ],
)
def test_labels_are_told_by_their_lines(text: str, told: bool, tmp_path: Path) -> None:
    put(tmp_path, "train", "a", text)
    assert has_labels(tmp_path) is told
