"""What each reader takes and refuses; whole layouts are in tests/workflows/test_layouts.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest

from detkit.annotations.coco import read_coco
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.exports.csv_table import is_table, read_table
from detkit.annotations.exports.label_studio import is_label_studio, read_label_studio
from detkit.annotations.exports.labelme import holds_labelme, read_labelme
from detkit.annotations.exports.read import read_export
from detkit.annotations.exports.records import ExportImages
from detkit.annotations.keypoints import KeypointLayout
from detkit.annotations.writers import write_dataset
from detkit.errors import UserError


def boxes_of(truth: AnnotationSet) -> list[list[float]]:
    assert truth.box_format == "coco"
    return np.round(truth.boxes, 6).tolist()


def csv(folder: Path, text: str, **wanted: Any) -> AnnotationSet:
    (folder / "a.csv").write_text(text, encoding="utf-8")
    return read_export("csv", folder, folder / "a.csv", **wanted)


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,8,cat,1,2,5,8\n",
        "\ufeffImage;Label;X1;Y1;X2;Y2;Width;Height\na.jpg;cat;1;2;5;8;9;8\n",
        "path\tx_min\ty_min\tx_max\ty_max\tname\timg_width\timg_height\r\na.jpg\t1\t2\t5\t8\tcat\t9\t8\r\n",
    ],
)
def test_a_table_has_titles_of_many_names(text: str, tmp_path: Path) -> None:
    truth = csv(tmp_path, text)
    assert boxes_of(truth) == [[1, 2, 4, 6]]
    assert (truth.classes, truth.sizes.tolist()) == (("cat",), [[8, 9]])


def test_a_table_without_titles_names_images_without_objects(tmp_path: Path) -> None:
    truth = csv(tmp_path, "a.jpg,1,2,5,8,cat\nb.jpg,,,,,\na.jpg,0,0,2,2,dog\n")
    assert truth.image_files.tolist() == ["a.jpg", "b.jpg"]
    assert truth.offsets.tolist() == [0, 2, 2]
    assert [truth.classes[label] for label in truth.labels] == ["cat", "dog"]


def test_a_split_is_a_column_or_a_list(tmp_path: Path) -> None:
    text = "file,class,x1,y1,x2,y2,split\na.jpg,cat,1,2,5,8,train\nb.jpg,cat,1,2,5,8,val\n"
    assert csv(tmp_path, text, split="val").image_files.tolist() == ["b.jpg"]
    (tmp_path / "mine.txt").write_text("b.jpg\na.jpg\n")
    listed = csv(tmp_path, text, split=str(tmp_path / "mine.txt"))
    assert listed.image_files.tolist() == ["b.jpg", "a.jpg"]
    with pytest.raises(UserError, match=r"no split 'test'; it may be one of: train, val;"):
        csv(tmp_path, text, split="test")
    (tmp_path / "mine.txt").write_text("c.jpg\n")
    with pytest.raises(UserError, match=r"mine\.txt: 'c\.jpg' is no image of"):
        csv(tmp_path, text, split=str(tmp_path / "mine.txt"))


def test_a_part_that_a_file_names_is_not_opened_as_a_list(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret\n")
    secret = str(tmp_path / "secret.txt")
    text = f"file,class,x1,y1,x2,y2,split\na.jpg,cat,1,2,5,8,{secret}\nb.jpg,cat,1,2,5,8,val\n"
    assert csv(tmp_path, text, split=secret).image_files.tolist() == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no table of boxes: wanted is titles such as filename"),
        ("file,class,x1,y1,x2,y2\na.jpg,cat,1,2,5\n", r"object 2: its box or outline is not made of numbers"),
        ("file,class,x1,y1,x2,y2\na.jpg,cat,1,2,5,x\n", r"object 2: its box or outline"),
        ("file,class,x1,y1,x2,y2\na.jpg,,1,2,5,6\n", r"object 2: name '' is empty"),
        ("file,class,x1,y1,x2,y2\n,cat,1,2,5,6\n", r"a\.csv:2: file_name must have 1 to"),
        ("file,class,x1,y1,x2,y2\na.jpg,cat,9,2,5,6\n", "the box ends before it begins"),
        ("file,class,x1,y1,x2,y2\na.jpg,cat,nan,2,5,6\n", "a coordinate is not a number"),
        ("file,class,x1,y1,x2,y2\na.jpg,cat,1,2,1e300,6\n", "a coordinate is not a number"),
    ],
)
def test_a_table_says_what_is_wrong_and_where(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        csv(tmp_path, text)


def cvat(folder: Path, shapes: str) -> AnnotationSet:
    text = f'<annotations><image id="0" name="a.jpg" width="100" height="50">{shapes}</image></annotations>'
    (folder / "a.xml").write_text(text)
    return read_export("cvat", folder, folder / "a.xml")


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box label="c" xtl="1" ytl="2" xbr="5" ybr="8"/>', [1, 2, 4, 6]),
        ('<box label="c" xtl="10" ytl="20" xbr="20" ybr="24" rotation="90"/>', [13, 17, 4, 10]),
        ('<polygon label="c" points="3,4;9,5;6,11"/>', [3, 4, 6, 7]),
        ('<mask label="c" rle="1" left="3" top="4" width="5" height="6"/>', [3, 4, 5, 6]),
        ('<ellipse label="c" cx="10" cy="20" rx="3" ry="4"/>', [7, 16, 6, 8]),
    ],
)
def test_cvat_gives_the_box_around_a_shape(shape: str, box: list[float], tmp_path: Path) -> None:
    other = '<points label="c" points="1,2"/><polyline label="c" points="1,2;3,4"/><tag label="c"/>'
    other += '<skeleton label="c"/>'
    assert boxes_of(cvat(tmp_path, other + shape)) == [box]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ('<box label="c" xtl="1" ytl="2" xbr="5"/>', "object 1: its box or outline is not made of numbers"),
        ('<box label="c" xtl="1" ytl="2" xbr="5" ybr="8" rotation="x"/>', "its box or outline"),
        ('<box label="c" xtl="1" ytl="2" xbr="5" ybr="8" rotation="inf"/>', "a coordinate is not a number"),
        ('<polygon label="c" points="3,4;9"/>', "its box or outline"),
        ('<polygon label="c" points="3,4;nan,5"/>', "a coordinate is not a number"),
        ('<ellipse label="c" cx="10"/>', "its box or outline"),
        ('<box xtl="1" ytl="2" xbr="5" ybr="8"/>', "name '' is empty"),
        ('<points label="c" points="1,2;3,x"/>', "its key points are not numbers with names"),
        ('<points label="c" points="1,2;3,nan"/>', "its key points are not numbers with names"),
        (
            '<skeleton label="c"><points points="1,2"/></skeleton>',
            "its key points are not numbers with names",
        ),
    ],
)
def test_cvat_says_what_is_wrong(shape: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        cvat(tmp_path, shape)


EYES = (
    '<points label="left" points="10,20" occluded="1"/><points label="right" points="30,24" occluded="0"/>'
    '<points label="nose" points="20,30" outside="1"/>'
)


def test_the_points_of_a_cvat_skeleton_are_key_points(tmp_path: Path) -> None:
    truth = cvat(
        tmp_path, f'<box label="a" xtl="1" ytl="2" xbr="5" ybr="8"/><skeleton label="b">{EYES}</skeleton>'
    )
    assert boxes_of(truth) == [[1, 2, 4, 6], [10, 20, 20, 4]]
    assert truth.layout == KeypointLayout(("left", "right", "nose"))
    assert truth.keypoints is not None
    nothing = [0, 0, 0]
    assert truth.keypoints.tolist() == [[nothing] * 3, [[9.5, 19.5, 1], [29.5, 23.5, 2], nothing]]
    assert (
        read_export("cvat", tmp_path, tmp_path / "a.xml", classes=["a"], ignore_classes=["b"]).layout is None
    )


def test_points_of_cvat_are_numbered_and_belong_to_the_box_of_their_group(tmp_path: Path) -> None:
    box = '<box label="face" group_id="{}" xtl="1" ytl="2" xbr="50" ybr="48"/>'
    own = '<points label="marks" group_id="{}" occluded="0" points="4,5;8,9"/>'
    together = cvat(tmp_path, box.format(1) + own.format(1) + box.format(2) + own.format(0))
    assert boxes_of(together) == [[1, 2, 49, 46], [1, 2, 49, 46], [4, 5, 4, 4]]
    assert together.keypoints is not None
    assert together.keypoints[:, :, 2].tolist() == [[2, 2], [0, 0], [2, 2]]
    assert together.keypoints[0, :, :2].tolist() == [[3.5, 4.5], [7.5, 8.5]]
    assert [together.classes[label] for label in together.labels] == ["face", "face", "marks"]
    assert together.layout == KeypointLayout(("1", "2"))
    doubtful = cvat(tmp_path, 2 * box.format(1) + own.format(1))  # which box is meant?
    assert doubtful.num_objects == 3


def test_the_drawing_of_a_cvat_skeleton_orders_and_joins_its_points(tmp_path: Path) -> None:
    nodes = "".join(
        f'<circle r="1" data-node-id="{node}" data-label-name="{name}"></circle>'
        for node, name in ((7, "nose"), (8, "left"), (9, "right"))
    )
    drawing = f'<line x1="1" data-node-from="8" data-node-to="7"></line>{nodes}'
    drawing += '<line data-node-from="6"></line><line data-node-from="9"></line>'
    labels = (
        f"<labels><label><name>b</name><type>skeleton</type><svg>{escape(drawing)}</svg></label></labels>"
    )
    image = f'<image name="a.jpg" width="100" height="50"><skeleton label="b">{EYES}</skeleton></image>'
    (tmp_path / "a.xml").write_text(f"<annotations><meta><task>{labels}</task></meta>{image}</annotations>")
    truth = read_export("cvat", tmp_path, tmp_path / "a.xml")
    assert truth.layout == KeypointLayout(("nose", "left", "right"), ((1, 0),))
    assert truth.keypoints is not None
    assert truth.keypoints[0, :, 2].tolist() == [0, 1, 2]


def test_key_points_of_cvat_become_those_of_coco(tmp_path: Path) -> None:
    truth = cvat(tmp_path, f'<skeleton label="b">{EYES}</skeleton>')
    write_dataset(tmp_path / "coco", "coco", {"train": truth})
    again = read_coco(tmp_path, next((tmp_path / "coco").rglob("*.json")))
    assert again.layout == truth.layout
    assert np.array_equal(again.keypoints, truth.keypoints)


def test_a_film_of_cvat_is_refused_with_what_to_export(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<annotations><track id="0" label="c"/></annotations>')
    with pytest.raises(UserError, match=r'export the task as "CVAT for images 1\.1"'):
        read_export("cvat", tmp_path, tmp_path / "a.xml")


def labelme(folder: Path, *shapes: object) -> AnnotationSet:
    content = {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 50, "imageWidth": 100}
    (folder / "a.json").write_text(json.dumps(content))
    return read_export("labelme", folder, folder)


def test_labelme_gives_the_box_around_a_shape_and_its_flags(tmp_path: Path) -> None:
    truth = labelme(
        tmp_path,
        {"label": "c", "shape_type": "rectangle", "points": [[9, 8], [3, 4]], "flags": {"difficult": True}},
        {"label": "c", "points": [[1, 1], [4, 2], [2, 6]], "flags": {"crowd": True}},
        {"label": "c", "shape_type": "circle", "points": [[10, 20], [13, 24]], "flags": None},
        {"label": "c", "shape_type": "point", "points": [[10, 20]]},
    )
    assert boxes_of(truth) == [[3, 4, 6, 4], [1, 1, 3, 5], [5, 15, 10, 10]]
    assert truth.difficult.tolist() == [True, False, False]
    assert truth.crowd.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (3, r"shapes\[0\] must be an object; found 3"),
        ({"label": "c", "points": [[1, 1], [4]]}, "object 1: its box or outline"),
        ({"label": "c", "points": []}, "its box or outline"),
        ({"label": "c", "points": [[True, 1], [4, 5]]}, "its box or outline"),
        ({"label": ["c"], "points": [[1, 1], [4, 5]]}, "name must be text"),
        ({"label": "c", "shape_type": "circle", "points": [[1, 1]]}, "its box or outline"),
    ],
)
def test_labelme_says_what_is_wrong(shape: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        labelme(tmp_path, shape)


def studio(folder: Path, value: object, **task: Any) -> AnnotationSet:
    region = {"original_width": 200, "original_height": 100, "value": value}
    tasks = [{"data": {"image": "/a.jpg"}, "annotations": [{"result": [region]}]} | task]
    (folder / "a.json").write_text(json.dumps(tasks))
    return read_export("labelstudio", folder, folder / "a.json")


@pytest.mark.parametrize(
    ("value", "box"),
    [
        ({"x": 10, "y": 20, "width": 5, "height": 10, "rectanglelabels": ["c"]}, [20, 20, 10, 10]),
        (
            {"x": 10, "y": 20, "width": 5, "height": 4, "rotation": 90, "rectanglelabels": ["c"]},
            [16, 20, 4, 10],  # 10 x 4 px, turned clockwise about its upper left corner
        ),
        ({"points": [[0, 0], [50, 10], [10, 50]], "polygonlabels": ["c"]}, [0, 0, 100, 50]),
        ({"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["c"]}, [80, 30, 40, 40]),
    ],
)
def test_label_studio_gives_boxes_in_pixels(value: object, box: list[float], tmp_path: Path) -> None:
    assert boxes_of(studio(tmp_path, value)) == [box]


def test_of_several_annotations_the_ground_truth_is_taken(tmp_path: Path) -> None:
    def one(x: int, **about: bool) -> dict[str, Any]:
        value = {"x": x, "y": 0, "width": 10, "height": 10, "rectanglelabels": ["c"]}
        return about | {"result": [{"original_width": 100, "original_height": 100, "value": value}]}

    given = [one(1, was_cancelled=True), one(2), one(3, ground_truth=True)]
    assert boxes_of(studio(tmp_path, {}, annotations=given)) == [[3, 0, 10, 10]]
    assert boxes_of(studio(tmp_path, {}, annotations=given[:2])) == [[2, 0, 10, 10]]
    assert studio(tmp_path, {}, annotations=given[:1]).num_objects == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"x": 1, "rectanglelabels": ["c"]}, "object 1: its box or outline"),
        ({"x": 1, "y": 1, "width": "a", "height": 1, "rectanglelabels": ["c"]}, "its box or outline"),
        ({"x": 1, "y": 1, "width": 1, "height": 1, "rectanglelabels": []}, "name must be text"),
        ({"x": 1, "y": 1, "width": 1e308, "height": 1, "rectanglelabels": ["c"]}, "a coordinate is not"),
    ],
)
def test_label_studio_says_what_is_wrong(value: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        studio(tmp_path, value)


def test_an_image_that_is_annotated_twice_is_refused(tmp_path: Path) -> None:
    node = '<image id="0" name="a.jpg" width="9" height="9"></image>'
    (tmp_path / "a.xml").write_text(f"<annotations>{node}{node}</annotations>")
    with pytest.raises(UserError, match=r"'a\.jpg' is annotated 2 times"):
        read_export("cvat", tmp_path, tmp_path / "a.xml")


def test_images_are_found_by_name_but_not_guessed_and_not_outside(tmp_path: Path) -> None:
    for name in ("x/a.jpg", "x/b.jpg", "y/b.jpg", "0123abcd-c.jpg"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "d.jpg").touch()
    find = ExportImages(tmp_path / "root").find
    assert find("x/b.jpg") == "x/b.jpg"
    assert (
        find("/home/me/a.jpg")
        == find("C:\\photos\\a.jpg")
        == find("a")
        == find("89abcdef-a.jpg")
        == "x/a.jpg"
    )
    assert find("/home/me/b.jpg") == "b.jpg"
    assert find("../d.jpg") == "d.jpg"
    assert find("c.jpg") == "c.jpg"


def test_a_table_with_a_field_without_end_is_none(tmp_path: Path) -> None:
    rows = ["filename,xmin,ymin,xmax,ymax,class", "a.jpg,1,2,3,4,cat", "x" * 200_000 + ",1,2,3,4,cat"]
    with pytest.raises(UserError, match=r"a\.csv: not a table \(field larger than field limit"):
        csv(tmp_path, "\n".join(rows))


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("file,class,x1,y1,x2,y2", True),
        ("file,class,x1,y1,x2", False),
        ("a.jpg,1,2,3,4,cat", True),
        ("a.jpg,,,,,", True),
        ("a.jpg,1,2,3,,cat", False),
        ("a.jpg,1,2,3,4,", False),
        (",1,2,3,4,cat", False),
        ("a.jpg,1,2,3,4,cat,more", False),
        ("", False),
    ],
)
def test_a_table_is_told_by_its_first_line(first: str, told: bool, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{first}\nnot,a,line\n")
    assert is_table(tmp_path / "a.csv") is told


def test_what_is_no_file_of_text_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe,class\n")
    assert not is_table(tmp_path / "folder.csv")
    assert not is_table(tmp_path / "bytes.csv")
    assert not is_table(tmp_path / "absent.csv")


def test_lines_of_a_table_without_anything_are_passed_over(tmp_path: Path) -> None:
    text = "file,class,x1,y1,x2,y2,split\na.jpg,cat,1,2,5,8,train\n,,,,,,\n\nb.jpg,dog,0,1,2,3\n"
    (tmp_path / "a.csv").write_text(text)
    first, last = read_table(tmp_path / "a.csv")
    assert [(first.name, first.size, first.part), (last.name, last.size, last.part)] == [
        ("a.jpg", (0, 0), "train"),
        ("b.jpg", (0, 0), ""),
    ]
    assert [(o.number, o.name, o.box) for o in first.objects] == [(2, "cat", (1, 2, 4, 6))]
    assert [(o.number, o.name, o.box) for o in last.objects] == [(5, "dog", (0, 1, 2, 2))]


NO_TASKS = "not Label Studio's: wanted is its export as JSON, a list of tasks with images"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"tasks": []}, NO_TASKS),
        ([{"data": {"text": "no image"}}], NO_TASKS),
        ([{"image": "a.jpg"}, {"data": {}}], "task [1] has no image in its data"),
        ([{"image": "a.jpg"}, 3], "task [1] has no image in its data"),
        ([{"image": "a.jpg"}, {"data": [1]}], "task [1] has no image in its data"),
    ],
)
def test_a_file_that_is_not_label_studios_is_refused(content: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_label_studio(tmp_path / "a.json")
    assert str(caught.value) == f"{tmp_path}/a.json: {said}"


def test_a_list_of_tasks_is_told_by_its_first_ten() -> None:
    others = [{"text": "no image"}]
    assert is_label_studio([*others * 9, {"image": "a.jpg"}])
    assert not is_label_studio([*others * 10, {"image": "a.jpg"}])


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ({"image": "http://host/photos/a%20b.jpg"}, "/photos/a b.jpg"),
        ({"image": "/data/local-files/?d=photos/a.jpg"}, "photos/a.jpg"),
        ({"image": "a%20b.jpg"}, "a%20b.jpg"),
        ({"image": "http://[bad/a.jpg"}, "http://[bad/a.jpg"),
        ({"photo": "no image", "picture": "s3://bucket/a.JPG"}, "/a.JPG"),
        ({"other": "b.jpg", "image": "a.bin"}, "a.bin"),
        ({"data": {"image": "a.jpg"}, "image": "b.jpg"}, "a.jpg"),
    ],
)
def test_the_image_of_a_task_is_found_in_its_address(task: object, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([task]))
    (image,) = read_label_studio(tmp_path / "a.json")
    assert image.name == name


def test_regions_of_json_min_stand_in_the_task_and_others_are_passed_over(tmp_path: Path) -> None:
    region = {"x": 10, "y": 20, "width": 5, "height": 10, "rectanglelabels": ["c"], "original_width": 200}
    task = {
        "image": "a.jpg",
        "brush": [{"rle": [1], "brushlabels": ["c"]}, 7, {"value": 7}],
        "label": [region | {"original_height": 100}],
        "note": "text",
    }
    (tmp_path / "a.json").write_text(json.dumps([task]))
    (image,) = read_label_studio(tmp_path / "a.json")
    assert image.size == (100, 200)
    assert [(o.number, o.name, o.box) for o in image.objects] == [(1, "c", (20, 20, 10, 10))]


def test_files_that_are_not_labelmes_are_passed_over(tmp_path: Path) -> None:
    for name in "acf":
        content = {"shapes": [], "imagePath": f"{name}.jpg", "imageHeight": 50, "imageWidth": 100}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    for name, content in {"b": {"shapes": []}, "d": {"imagePath": "d.jpg", "shapes": 3}, "e": []}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert [(image.name, image.size) for image in read_labelme(tmp_path)] == [
        ("a.jpg", (50, 100)),
        ("c.jpg", (50, 100)),
        ("f.jpg", (50, 100)),
    ]
    for name in "acf":
        (tmp_path / f"{name}.json").unlink()
    with pytest.raises(UserError) as caught:
        read_labelme(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no JSON file of LabelMe's, with shapes and imagePath"


def test_labelme_is_told_by_the_first_five_files(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.json").write_text("{}")
    assert not holds_labelme(tmp_path)
    (tmp_path / "0.json").mkdir()  # no file, and not one of the five
    (tmp_path / "f.json").write_text('{"version": "5", "shapes" : []}')
    assert holds_labelme(tmp_path) is False
    (tmp_path / "d.json").unlink()
    assert holds_labelme(tmp_path)
    (tmp_path / "f.json").write_text(" " * 4096 + '{"shapes": []}')
    assert not holds_labelme(tmp_path)
