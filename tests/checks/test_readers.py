"""What the survey of each format says about files that no reader would take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.checks import corrected_copy
from detkit.checks.findings import Finding
from detkit.checks.read_exports import survey_exports
from detkit.checks.sources import _divided, is_dataset
from detkit.checks.survey import Survey
from detkit.data.datasets.config import CSVDatasetConfig, LabelStudioDatasetConfig
from detkit.data.datasets.readers import read_set
from detkit.errors import UserError
from detkit.workflows.check import check
from tests.checks.small_datasets import Format, Picture, draw, image_file, pictures, write


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    root = tmp_path_factory.mktemp("clean")
    names: tuple[Format, ...] = ("voc", "coco", "yolo")
    for name in names:
        write(root / name, name, pictures(np.random.default_rng(0), 3, 2))
    return {name: root / name for name in names}


def copied(clean: dict[Format, Path], name: Format, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean[name], tmp_path / "set"))


def said(findings: list[Finding], *kinds: str, root: Path) -> list[tuple[str, str | None, str]]:
    """Return kind, object and message of findings of some kinds, or of all errors."""
    return [
        (f.kind, f.object, f.message.replace(str(root), "SET"))
        for f in findings
        if f.kind in kinds or (not kinds and f.is_error)
    ]


def coco_file(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_entries_of_coco_that_are_none(clean: dict[Format, Path], tmp_path: Path) -> None:
    root = copied(clean, "coco", tmp_path)

    def spoil(content: dict[str, Any]) -> None:
        content["images"] += [{"file_name": "a.jpg", "id": "7"}, {"id": 8}, 5]
        content["annotations"] += [[], {"id": 5000, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}]
        content["categories"] += [{"id": 4}, "cat", {"id": 1, "name": "plum"}]

    coco_file(root, spoil)
    assert said(check(str(root)).errors, root=root) == [
        ("malformed_object", "images[5]", "must be an object with keys; found 5"),
        ("malformed_object", "annotations[12]", "must be an object with keys; found []"),
        ("malformed_object", "categories[4]", "must be an object with keys; found 'cat'"),
        ("malformed_object", "categories[3]", "needs a whole number as id and a name; found {'id': 4}"),
        ("malformed_object", "categories[4]", "needs a whole number as id and a name; found {}"),
        (
            "malformed_object",
            "images[3]",
            "needs a whole number as id and a file_name; found {'file_name': 'a.jpg', 'id': '7'}",
        ),
        ("malformed_object", "images[4]", "needs a whole number as id and a file_name; found {'id': 8}"),
        ("malformed_object", "images[5]", "needs a whole number as id and a file_name; found {}"),
        (
            "malformed_object",
            "annotation 5000 (apple)",
            "bbox must be 4 numbers [x, y, width, height]; found [1, 2, 3]",
        ),
        ("unknown_category", "annotations[12]", "category_id None is not in the file, which has 1, 2, 3"),
        ("unknown_image_id", "annotations[12]", "image_id None is not in the file, which has 1, 2, 3"),
        ("duplicate_category", "category 1", "'apple' and 'plum' have the same id 1"),
    ]


@pytest.mark.parametrize(
    ("moved", "less", "hint"),
    [
        (1, 0, "; they seem to be counted from one more"),
        (-1, 0, "; they seem to be counted from one less"),
        (1, 1, ""),  # another is right as it is
        (2, 0, ""),
    ],
)
def test_ids_that_are_all_off_by_one_get_a_hint(
    moved: int, less: int, hint: str, clean: dict[Format, Path], tmp_path: Path
) -> None:
    root = copied(clean, "coco", tmp_path)

    def spoil(content: dict[str, Any]) -> None:
        annotations = sorted(content["annotations"], key=lambda a: a["category_id"])
        content["annotations"] = annotations
        for annotation in annotations[less:]:
            annotation["category_id"] += moved

    coco_file(root, spoil)
    found = said(check(str(root)).errors, root=root)
    assert found
    assert {kind for kind, _, _ in found} == {"unknown_category"}
    assert all(message.endswith(f"is not in the file, which has 1, 2, 3{hint}") for _, _, message in found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": [], "categories": {}}, "has no list of categories"),
        ({"images": []}, "has no list of annotations nor of categories"),
        ({"images": 3, "annotations": [], "categories": None}, "has no list of images nor of categories"),
    ],
)
def test_a_file_of_coco_without_its_lists(
    content: object, message: str, clean: dict[Format, Path], tmp_path: Path
) -> None:
    root = copied(clean, "coco", tmp_path)
    (root / "annotations" / "instances_val.json").unlink()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    assert said(check(str(root)).errors, root=root) == [("malformed_file", None, message)]


def test_images_that_no_file_of_coco_lists_are_told(clean: dict[Format, Path], tmp_path: Path) -> None:
    root = copied(clean, "coco", tmp_path)
    for name in ("b.PNG", "a.jpg"):
        pixels = draw(np.random.default_rng(len(name)), 50, 60)
        (root / "images" / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    (root / "images" / "notes.txt").write_text("nothing")
    found = [f for f in check(str(root)).warnings if f.kind == "unlabelled_image"]
    assert [(f.file, f.message) for f in found] == [
        (str(root / "images" / name), "no annotation file lists it; it is not read")
        for name in ("a.jpg", "b.PNG")
    ]


def test_a_class_of_yolo_that_is_not_listed(clean: dict[Format, Path], tmp_path: Path) -> None:
    root = copied(clean, "yolo", tmp_path)
    (root / "labels" / "val" / "photo_003.txt").write_text(
        "3 .5 .5 .2 .2\n\n  \n4 .5 .5 .3 .3\n2 .5 .5 .1 .1\n"
    )
    listed = "is not in SET/data.yaml, which has 3 classes (0 to 2)"
    assert said(check(str(root)).errors, root=root) == [
        ("unknown_class", "line 1", f"class 3 {listed}; numbers start from 0, are these counted from 1?"),
        ("unknown_class", "line 4", f"class 4 {listed}"),
    ]


def test_labels_of_yolo_that_are_not_there_or_too_many(clean: dict[Format, Path], tmp_path: Path) -> None:
    root = copied(clean, "yolo", tmp_path)
    (root / "labels" / "train" / "photo_001.txt").unlink()
    (root / "labels" / "val" / "zero.txt").write_text("0 .5 .5 .2 .2\n")
    (root / "labels" / "val" / "another.txt").write_text("")
    result = check(str(root), fix=tmp_path / "copy")
    assert said(result.findings, "unlabelled_image", "missing_image", "empty_image", root=root) == [
        ("missing_image", None, "there is no image SET/images/val/another with any usual extension"),
        ("missing_image", None, "there is no image SET/images/val/zero with any usual extension"),
        (
            "unlabelled_image",
            None,
            "there is no SET/labels/train/photo_001.txt; the image counts as empty",
        ),
    ]
    assert not (tmp_path / "copy" / "labels" / "train" / "photo_001.txt").exists()
    assert (tmp_path / "copy" / "images" / "train" / "photo_001.jpg").is_file()
    assert not (tmp_path / "copy" / "labels" / "val" / "zero.txt").exists()


def test_a_list_of_yolo_may_name_images_that_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETKIT_IMAGE_ROOTS", str(tmp_path / "apart"))
    drawn = pictures(np.random.default_rng(0), 3, 2)
    write(tmp_path / "set", "yolo", drawn, lists=True)
    (tmp_path / "apart").mkdir()
    for kind in ("images", "labels"):
        shutil.move(tmp_path / "set" / kind, tmp_path / "apart" / kind)
    root = tmp_path / "set"
    for split in ("train", "val"):
        names = [tmp_path / "apart" / "images" / split / f"{p.name}.jpg" for p in drawn if p.split == split]
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in [*names, names[0]]))
    result = check(str(root), fix=tmp_path / "copy")
    repeats = [
        ("split_repeats", split, f"named twice in {split}; once is enough") for split in ("train", "val")
    ]
    assert said(result.errors, root=root) == repeats
    assert result.parts == {"train": 3, "val": 2}
    copy = tmp_path / "copy"
    assert (copy / "train.txt").read_text() == "".join(
        f"./images/train/photo_00{number}.jpg\n" for number in range(3)
    )
    assert (copy / "data.yaml").read_text() == (
        "path: .\nnames:\n  0: apple\n  1: pear\n  2: walnut\ntrain: train.txt\nval: val.txt\n"
    )
    again = check(str(copy))
    assert (again.errors, again.parts, again.objects) == ([], result.parts, result.objects)


def test_an_image_that_changes_while_it_is_checked_is_not_copied(
    clean: dict[Format, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copied(clean, "voc", tmp_path)
    image = root / "JPEGImages" / "photo_002.jpg"
    copy_voc = corrected_copy._COPIES["voc"]

    def changed(*given: Any) -> None:
        copy_voc(*given)
        image.write_bytes(image.read_bytes() + b"more")

    monkeypatch.setitem(corrected_copy._COPIES, "voc", changed)
    with pytest.raises(UserError) as caught:
        check(str(root), fix=tmp_path / "copy")
    assert str(caught.value) == f"{image}: changed while the dataset was checked; start again"


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/a/b/c.jpg", "/a", "b/c.jpg"),
        ("/a/x/../b/c.jpg", "/a/b", "c.jpg"),
        ("/else/images/train/c.jpg", "/a", "images/train/c.jpg"),
        ("/else/labels/c.txt", "/a", "labels/c.txt"),
        ("/labels/images/c.txt", "/a", "images/c.txt"),
        ("/else/photos/c.jpg", "/a", "c.jpg"),
        ("/ab/c.jpg", "/a", "c.jpg"),
    ],
)
def test_a_path_of_a_copy_is_taken_from_the_root_on(path: str, root: str, expected: str) -> None:
    assert str(corrected_copy.below(Path(path), Path(root))) == expected


TABLE = """filename,class,xmin,ymin,xmax,ymax,split
{0},cat,10,20,40,50,train
{0},dog,5,6,700,60,train
{1},cat,1,1,20,30,val
{1},,1,1,20,30,val
{0},dog,10,20,40,50,train
"""


def exported(root: Path, table: str = TABLE) -> list[Picture]:
    """Write a table of two images, and return these."""
    rng = np.random.default_rng(3)
    drawn = [Picture("a", "train", draw(rng, 70, 100)), Picture("b", "val", draw(rng, 80, 90))]
    for picture in drawn:
        file = image_file(root, "coco", picture)
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture.pixels)
    (root / "boxes.csv").write_text(table.format("a.jpg", "b.jpg"))
    return drawn


def test_a_copy_of_an_export_is_coco(tmp_path: Path) -> None:
    root, copy = tmp_path / "set", tmp_path / "copy"
    exported(root)
    result = check(str(root), fix=copy)
    assert said(result.errors, root=root) == [("malformed_object", "object 5", "name '' is empty")]
    outside = [finding for finding in result.warnings if finding.kind == "outside_box"]
    assert [finding.object for finding in outside] == ["line 3 (dog)"]
    assert outside[0].message.startswith(
        "a.jpg: the box reaches beyond the image: [5, 6, 695, 54] (x y width height), image 100 x 70"
    )
    assert (result.parts, result.objects) == ({"train": 1, "val": 1}, 5)
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    wanted = {
        "train": {
            "images": [{"id": 1, "file_name": "a.jpg", "height": 70, "width": 100}],
            "annotations": [
                (1, 1, 1, [10, 20, 30, 30], 900),
                (2, 1, 2, [5, 6, 95, 54], 5130),
                (3, 1, 2, [10, 20, 30, 30], 900),
            ],
        },
        "val": {
            "images": [{"id": 2, "file_name": "b.jpg", "height": 80, "width": 90}],
            "annotations": [(4, 2, 1, [1, 1, 19, 29], 551)],
        },
    }
    keys = ("id", "image_id", "category_id", "bbox", "area")
    for part, content in wanted.items():
        rows = [dict(zip(keys, row, strict=True)) | {"iscrowd": 0} for row in content["annotations"]]
        found = json.loads((copy / "annotations" / f"instances_{part}.json").read_text())
        assert found == content | {"annotations": rows, "categories": categories}
    assert check(str(copy)).errors == []


def test_a_copy_has_the_objects_of_all_records_of_an_image(tmp_path: Path) -> None:
    tasks = [
        {
            "image": f"/{name}.jpg",
            "label": [
                {"x": x, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
                | {"original_width": 100, "original_height": 70}
            ],
        }
        for name, x in (("a", 10), ("b", 20), ("a", 30))
    ]
    exported(tmp_path / "set")
    (tmp_path / "set" / "boxes.csv").unlink()
    (tmp_path / "set" / "tasks.json").write_text(json.dumps(tasks))
    result = check(str(tmp_path / "set"), fix=tmp_path / "copy")
    assert said(result.errors, "duplicate_file_name", root=tmp_path / "set") == [
        ("duplicate_file_name", "a.jpg", "a.jpg is annotated more than once")
    ]
    assert result.objects == 3
    assert [c["change"] for c in result.changes if c["object"] == "a.jpg"] == ["the entries become one"]
    [file] = (tmp_path / "copy" / "annotations").glob("*.json")
    content = json.loads(file.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert sorted(names.values()) == ["a.jpg", "b.jpg"]
    boxes = [o["bbox"] for o in content["annotations"] if names[o["image_id"]] == "a.jpg"]
    assert boxes == [[10, 7, 20, 14], [30, 7, 20, 14]]
    assert len(content["annotations"]) == 3


def test_two_files_of_labelme_about_one_image_become_one_entry(tmp_path: Path) -> None:
    exported(tmp_path / "set")
    (tmp_path / "set" / "boxes.csv").unlink()
    for name, left in (("first", 10), ("second", 40)):
        shape = {"label": "cat", "points": [[left, 10], [left + 20, 30]], "shape_type": "rectangle"}
        content = {"imagePath": "a.jpg", "imageHeight": 70, "imageWidth": 100, "shapes": [shape]}
        (tmp_path / "set" / f"{name}.json").write_text(json.dumps(content))
    check(str(tmp_path / "set"), fix=tmp_path / "copy")
    [file] = (tmp_path / "copy" / "annotations").glob("*.json")
    content = json.loads(file.read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.jpg"]
    assert [o["bbox"] for o in content["annotations"]] == [[10, 10, 20, 20], [40, 10, 20, 20]]


def test_a_list_may_name_an_image_of_two_records_or_name_it_twice(tmp_path: Path) -> None:
    exported(tmp_path)
    task = {"original_width": 100, "original_height": 70, "rectanglelabels": ["cat"]}
    box = {"x": 10, "y": 10, "width": 20, "height": 20}
    tasks = [{"image": f"/{name}", "label": [task | box]} for name in ("a.jpg", "b.jpg", "a.jpg")]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    (tmp_path / "part.txt").write_text("a.jpg\nb.jpg\nb.jpg\n")
    config = LabelStudioDatasetConfig(
        images=str(tmp_path / "images"),
        annotations=str(tmp_path / "tasks.json"),
        split=str(tmp_path / "part.txt"),
    )
    survey = Survey()
    survey_exports(survey, tmp_path, {"train": config}, False)
    assert [(f.kind, f.object, f.images) for f in survey.faults] == [
        ("duplicate_file_name", "a.jpg", (1,)),
        ("split_repeats", "b.jpg", ()),
    ]
    assert survey.parts == {"train": [0, 1, 2]}
    with pytest.raises(UserError, match=r"'a\.jpg' is annotated 2 times"):
        read_set(config)


def test_an_export_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    exported(tmp_path, TABLE + ",cat,1,2,3,4\n")
    survey, file = Survey(), tmp_path / "boxes.csv"
    config = CSVDatasetConfig(type="csv", images=str(tmp_path), annotations=str(file))
    survey_exports(survey, tmp_path, {"train": config, "val": config}, False)
    assert [(f.kind, f.file, f.message.split(";")[0]) for f in survey.faults] == [
        ("malformed_file", str(file), "7: file_name must have 1 to 4096 letters")
    ] * 2
    assert survey.parts == {"train": [], "val": []}


def test_parts_of_one_export_are_read_once(tmp_path: Path) -> None:
    exported(tmp_path)
    survey, file = Survey(), str(tmp_path / "boxes.csv")
    sets = {
        name: CSVDatasetConfig(type="csv", images=str(tmp_path), annotations=file, split=split)
        for name, split in (("train", ""), ("val", "val"), ("test", "none"))
    }
    survey_exports(survey, tmp_path, sets, False)
    assert survey.parts == {"train": [0, 1], "val": [1], "test": []}
    assert [path.name for path in survey.files] == ["a.jpg", "b.jpg"]
    assert len(survey.groups) == 1
    assert [(f.kind, f.message.split(";")[0]) for f in survey.faults] == [
        ("malformed_object", "name '' is empty"),
        ("malformed_file", "no split 'none'"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.yaml", "names: [cat]\ntrain: images\n", True),
        ("a.yml", "names: [cat]\n", True),
        ("a.yaml", "names: [cat]\ndetector: {}\n", False),
        ("a.yaml", "detector: {}\n", False),
        ("a.yaml", "- names\n", False),
        ("a.yaml", "names: [cat\n", False),
        ("a.JSON", "", True),
        ("a.txt", "", True),
        ("a.png", "", False),
    ],
)
def test_a_dataset_is_told_from_a_config(name: str, content: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert is_dataset(str(tmp_path / name)) is expected


def test_a_folder_is_a_dataset_and_a_name_is_a_config(tmp_path: Path) -> None:
    assert is_dataset(str(tmp_path))
    assert not is_dataset("faster_rcnn_resnet18_synthetic")
    assert not is_dataset(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(("area", "expected"), [(50.5, 50.5), (5000, 300.0), (None, 300.0), ("x", 300.0)])
def test_the_area_of_an_outline_stays_where_its_box_is_cut(
    area: object, expected: float, clean: dict[Format, Path], tmp_path: Path
) -> None:
    root = copied(clean, "coco", tmp_path)

    def spoil(content: dict[str, Any]) -> None:
        outline = {"bbox": [-5, 3, 20, 20], "area": area, "segmentation": [[1, 2, 3, 4, 5, 6]]}
        content["annotations"][0] |= outline

    coco_file(root, spoil)
    check(str(root), fix=tmp_path / "copy")
    content = json.loads((tmp_path / "copy" / "annotations" / "instances_train.json").read_text())
    first = content["annotations"][0]
    if area == "x":  # which makes the whole object one that cannot be read
        assert first["bbox"] != [0, 3, 15, 20]
    else:
        assert (first["bbox"], first["area"]) == ([0, 3, 15, 20], expected)


def test_labels_of_an_image_that_no_list_names_are_not_without_it(tmp_path: Path) -> None:
    write(tmp_path, "yolo", pictures(np.random.default_rng(0), 3, 2), lists=True)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    (tmp_path / "train.txt").write_text(f"{lines[0]}\n{lines[2]}\n")
    result = check(str(tmp_path))
    assert result.parts == {"train": 2, "val": 2}
    assert result.errors == []


@pytest.mark.parametrize(
    ("message", "divided"),
    [
        ("a.json:3:5: no comma", ("a.json", "line 3, column 5: no comma")),
        ("a:b.json: no comma: there", ("a:b.json", "no comma: there")),
        ("a:3:b: no comma", ("a:3:b", "no comma")),
        ("a:b:3: no comma", ("a:b:3", "no comma")),
    ],
)
def test_a_place_in_a_file_is_said_in_words(message: str, divided: tuple[str, str]) -> None:
    assert _divided(message) == divided
