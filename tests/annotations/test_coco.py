from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations.coco import json_text, paused_collection, read_coco
from detkit.errors import UserError

BASE: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "sub/b.jpg", "height": 30, "width": 40},
        {"id": 3, "file_name": "a.jpg", "height": 50, "width": 60},
        {"id": 9, "file_name": "c.jpg"},
    ],
    "annotations": [
        {"id": 0, "image_id": 9, "category_id": 18, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 1},
        {"id": 5, "image_id": 7, "category_id": 2, "bbox": [0.1, 0.2, 3.3, 4.4]},
        {"image_id": 9, "category_id": 18, "bbox": [5, 6, 7, 8], "area": 50},
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 90, "name": "cow"}],
}


def put(folder: Path, **changes: Any) -> Path:
    file = folder / "instances.json"
    file.write_text(json.dumps(BASE | changes))
    return file


def with_object(**changes: Any) -> list[dict[str, Any]]:
    objects = [dict(item) for item in BASE["annotations"]]
    objects[1] |= changes
    return [{k: v for k, v in item.items() if v != "gone"} for item in objects]


def test_gaps_crowds_empty_images_and_missing_values(tmp_path: Path) -> None:
    truth = read_coco(tmp_path, put(tmp_path))
    assert truth.classes == ("cat", "dog", "cow")
    assert truth.category_ids.tolist() == [2, 18, 90]
    assert truth.image_ids.tolist() == [7, 3, 9]
    assert truth.image_files.tolist() == ["sub/b.jpg", "a.jpg", "c.jpg"]
    assert truth.sizes.tolist() == [[30, 40], [50, 60], [0, 0]]
    assert truth.offsets.tolist() == [0, 1, 1, 3]
    assert truth.labels.tolist() == [0, 1, 1]
    assert truth.boxes.tolist() == [[0.1, 0.2, 3.3, 4.4], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert truth.crowd.tolist() == [False, True, False]
    assert truth.areas.tolist() == [3.3 * 4.4, 5.5, 50]
    assert truth.ids.tolist() == [5, 0, 6]
    assert truth.box_format == "coco"
    assert set(truth.sources.tolist()) == {str(tmp_path / "instances.json")}


def test_classes_in_the_order_given(tmp_path: Path) -> None:
    file = put(tmp_path)
    truth = read_coco(tmp_path, file, ["emu", "dog", "cow", "cat"])
    assert truth.labels.tolist() == [3, 1, 1]
    assert truth.category_ids.tolist() == [91, 18, 90, 2]
    with pytest.raises(UserError, match=r"annotations\[0\] \(id 0\): class 'dog' .*did you mean 'dogs'"):
        read_coco(tmp_path, file, ["dogs", "cat"])
    truth = read_coco(tmp_path, file, ["cat"], ["dog"])
    assert truth.offsets.tolist() == [0, 1, 1, 1]
    assert read_coco(tmp_path, file, None, ["dog"]).classes == ("cat", "cow")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [BASE["images"][0], BASE["images"][0]]}, "images: id 7 is used more than once"),
        ({"categories": BASE["categories"] * 2}, "categories: id 18 is used more than once"),
        ({"annotations": None}, "'annotations' must be a list"),
        ({"images": [{"id": 7}]}, r"images\[0\] has no 'file_name'"),
        (
            {"images": [{"id": "x", "file_name": "a"}]},
            r"images\[0\]: id must be a whole number of 64 bits; found 'x'",
        ),
        ({"annotations": with_object(category_id=3)}, r"annotations\[1\] \(id 5\): category_id 3 is not in"),
        ({"annotations": with_object(image_id=4)}, r"annotations\[1\] \(id 5\): image_id 4 is not in"),
        ({"annotations": with_object(bbox="gone")}, r"annotations\[1\] has no 'bbox'"),
        ({"annotations": with_object(bbox=[1, 2, 3])}, r"annotations\[1\] \(id 5\): bbox must be 4 numbers"),
        ({"annotations": with_object(bbox=[1, 2, 3, None])}, r"annotations\[1\].*bbox must be 4 numbers"),
        ({"annotations": with_object(bbox=[1, 2, 3, "x"])}, r"annotations\[1\].*bbox must be 4 numbers"),
        ({"annotations": with_object(area="big")}, "area must be a number; found 'big'"),
        ({"annotations": [{}]}, r"annotations\[0\] has no 'image_id'"),
        (
            {"images": [{"id": 2**63, "file_name": "a"}]},
            "id must be a whole number of 64 bits; found 92",
        ),
        ({"images": [{"id": True, "file_name": "a"}]}, "id must be a whole number of 64 bits; found True"),
        ({"images": [{"id": 1, "file_name": ["a"]}]}, r"images\[0\]: file_name must be text; found \['a'\]"),
        ({"images": [{"id": 1, "file_name": ""}]}, r"images\[0\]: file_name must have 1 to 4096 letters"),
        ({"images": [{"id": 1, "file_name": "x" * 10**6}]}, "file_name must have 1 to 4096 letters"),
        ({"categories": [{"id": 1, "name": None}]}, r"categories\[0\]: name must be text; found None"),
        ({"categories": [{"id": 1, "name": "x" * 10**6}]}, "name 'xx.* has 1000000 letters; 1000 are the"),
        ({"categories": [{"id": 1, "name": " "}]}, "name ' ' is empty"),
        ({"annotations": with_object(id=-(2**63) - 1)}, r"annotations\[1\] .*: id must be a whole number"),
        (
            {"annotations": with_object(id="five")},
            r"\(id 'five'\): id must be a whole number",
        ),
        ({"annotations": with_object(id=0)}, "annotations: id 0 is used more than once"),
        (
            {"annotations": with_object(image_id=[3])},
            r"image_id \[3\] is not in the file, which has 3, 7",
        ),
        ({"annotations": with_object(image_id=2**64)}, r"image_id 1\.84.*e\+19 is not in the file"),
        (
            {"annotations": with_object(bbox=["1", "2", "3", "4"])},
            r"annotations\[1\].*bbox must be 4 numbers",
        ),
        ({"annotations": with_object(bbox=[1, 2, 1e30, 4])}, r"annotations\[1\].* of at most 1e\+09; found"),
        ({"annotations": with_object(bbox=[1, 2, -3, 4])}, "object 1 .cat.: the box ends before it begins"),
        ({"annotations": with_object(bbox=[[[[1]]]] * 4)}, r"annotations\[1\].*bbox must be 4 numbers"),
        ({"annotations": with_object(area=[1])}, r"annotations\[1\].*area must be a number; found \[1\]"),
        ({"annotations": with_object(area="5")}, r"annotations\[1\].*area must be a number; found '5'"),
        ({"annotations": with_object(iscrowd="0")}, r"annotations\[1\].*iscrowd must be 0 or 1; found '0'"),
        ({"annotations": with_object(iscrowd=[0])}, r"annotations\[1\].*iscrowd must be 0 or 1; found \[0\]"),
        ({"annotations": with_object(difficult=2)}, r"annotations\[1\].*difficult must be 0 or 1; found 2"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_coco(tmp_path, put(tmp_path, **changes))
    assert "instances.json" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["area", "bbox"])
def test_one_list_for_all_is_refused_too(key: str, tmp_path: Path) -> None:
    objects = [item | {key: [1]} for item in BASE["annotations"]]  # of one length, so they make an array
    with pytest.raises(UserError, match=rf"annotations\[0\].*{key} must be"):
        read_coco(tmp_path, put(tmp_path, annotations=objects))


def test_a_size_that_no_image_has_is_none(tmp_path: Path) -> None:
    sides = [0.5, "480", [1], 1e30, -3, None, 2**31, {}, True, 480.0]
    images = [{"id": i, "file_name": f"{i}", "width": side, "height": 640} for i, side in enumerate(sides)]
    truth = read_coco(tmp_path, put(tmp_path, images=images, annotations=[]))
    assert truth.sizes.tolist() == [[0, 0]] * 8 + [[640, 1], [640, 480]]


@pytest.mark.parametrize("largest", [2**63 - 1, 2**63 - 2])
def test_missing_ids_beside_the_largest_there_is(largest: int, tmp_path: Path) -> None:
    objects = [dict(item) for item in BASE["annotations"]]
    objects[0]["id"], objects[1]["id"] = 1, largest
    truth = read_coco(tmp_path, put(tmp_path, annotations=objects))
    assert truth.ids.tolist() == [largest, 1, 2 if largest == 2**63 - 1 else 2**63 - 1]
    categories = [{"id": 2**63 - 1, "name": "dog"}]
    truth = read_coco(tmp_path, put(tmp_path, annotations=[], categories=categories), ["emu", "dog", "cow"])
    assert truth.category_ids.tolist() == [1, 2**63 - 1, 2]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 50_000, '{"images": [' + "9" * 10_000 + "]}", "\ufeff{}", '{"a": "\\ud800"}'],
    ids=["lists", "objects", "digits", "mark", "half a pair"],
)
def test_json_without_end_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"deep\.json:1:[0-9]+: not valid JSON") as caught:
        read_coco(tmp_path, tmp_path / "deep.json")
    assert len(str(caught.value)) < 300


def test_what_is_nested_too_deeply_is_not_written_again(tmp_path: Path) -> None:
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    with pytest.raises(UserError, match=r"a\.json: cannot be written again"):
        json_text({"images": nested}, Path("a.json"))


def test_files_that_are_not_coco(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(UserError, match="does not exist"):
        read_coco(tmp_path, file)
    file.write_text('{"images": [],\n "annotations": }')
    with pytest.raises(UserError, match=r"x\.json:2:17: not valid JSON"):
        read_coco(tmp_path, file)
    file.write_text("[]")
    with pytest.raises(UserError, match="a COCO file is an object"):
        read_coco(tmp_path, file)


def test_nothing_annotated(tmp_path: Path) -> None:
    truth = read_coco(tmp_path, put(tmp_path, annotations=[]))
    assert truth.boxes.shape == (0, 4)
    assert truth.offsets.tolist() == [0, 0, 0, 0]
    truth = read_coco(tmp_path, put(tmp_path, annotations=[], images=[], categories=[]))
    assert truth.num_images == 0
    assert truth.sizes.shape == (0, 2)
    assert truth.category_ids.dtype == np.int64


@paused_collection()
def fail() -> None:
    assert not gc.isenabled()
    raise ValueError("inside")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError, match="inside"):
            fail()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
