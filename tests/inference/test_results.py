from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations.voc_xml import read_voc_xml
from detkit.errors import UserError
from detkit.inference.predictor import Prediction
from detkit.inference.results import ResultFormat, record, write_predictions

IDS = (7, 3)


def prediction(source: str, *rows: tuple[float, float, float, float, float, int]) -> Prediction:
    table = np.array([row[:5] for row in rows], dtype=np.float32).reshape(-1, 5)
    labels = np.array([row[5] for row in rows], dtype=np.int64)
    names = tuple(("cat & dog", "bird")[label] for label in labels)
    return Prediction(source, (50, 100), table[:, :4], table[:, 4], labels, names)


PREDICTIONS = [
    prediction("in/000012.jpg", (10, 5, 30, 45, 0.75, 1), (0, 0, 100, 50, 0.5, 0)),
    prediction("in/000034.jpg"),
]


def sources(found: Sequence[Prediction]) -> list[Path]:
    return [Path(str(one.source)) for one in found]


def written(folder: Path, result_format: ResultFormat, found: Sequence[Prediction] = PREDICTIONS) -> None:
    passed_on = list(write_predictions(iter(found), sources(found), folder, result_format, IDS))
    assert passed_on == list(found)


def test_json_is_a_list_of_images_with_named_boxes(tmp_path: Path) -> None:
    written(tmp_path, "json")
    content = json.loads((tmp_path / "detections.json").read_text())
    assert content == [record(one, IDS) for one in PREDICTIONS]
    assert content[0] == {
        "image": "in/000012.jpg",
        "width": 100,
        "height": 50,
        "detections": [
            {"box": [10, 5, 30, 45], "label": "bird", "category_id": 3, "score": 0.75},
            {"box": [0, 0, 100, 50], "label": "cat & dog", "category_id": 7, "score": 0.5},
        ],
    }
    assert content[1]["detections"] == []


@pytest.mark.parametrize("result_format", ["json", "coco"])
def test_no_images_are_an_empty_list(tmp_path: Path, result_format: Any) -> None:
    written(tmp_path, result_format, [])
    assert json.loads((tmp_path / "detections.json").read_text()) == []


def test_coco_results_take_the_ids_from_numbered_files(tmp_path: Path) -> None:
    written(tmp_path, "coco")
    assert json.loads((tmp_path / "detections.json").read_text()) == [
        {"image_id": 12, "category_id": 3, "bbox": [10, 5, 20, 40], "score": 0.75},
        {"image_id": 12, "category_id": 7, "bbox": [0, 0, 100, 50], "score": 0.5},
    ]
    written(tmp_path, "coco", [*PREDICTIONS, prediction("a.jpg", (1, 1, 2, 2, 0.5, 0))])
    content = json.loads((tmp_path / "detections.json").read_text())
    assert [result["image_id"] for result in content] == [1, 1, 3]


def test_voc_files_come_back_from_the_reader(tmp_path: Path) -> None:
    written(tmp_path, "voc")
    file = read_voc_xml(tmp_path / "000012.xml")
    assert file.size == (50, 100)
    assert [(o.name, o.box) for o in file.objects] == [
        ("bird", (11, 6, 30, 45)),
        ("cat & dog", (1, 1, 100, 50)),
    ]
    assert read_voc_xml(tmp_path / "000034.xml").objects == []


def test_yolo_lines_are_shares_of_the_image(tmp_path: Path) -> None:
    written(tmp_path, "yolo")
    rows = [line.split() for line in (tmp_path / "000012.txt").read_text().splitlines()]
    assert [[float(value) for value in row] for row in rows] == [
        [1, 0.2, 0.5, 0.2, 0.8, 0.75],
        [0, 0.5, 0.5, 1, 1, 0.5],
    ]
    assert (tmp_path / "000034.txt").read_text() == ""


def test_csv_has_a_row_for_each_detection(tmp_path: Path) -> None:
    written(tmp_path, "csv")
    with (tmp_path / "detections.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["bird", "cat & dog"]
    assert [float(rows[0][key]) for key in ("x1", "y1", "x2", "y2", "score")] == [10, 5, 30, 45, 0.75]


@pytest.mark.parametrize("result_format", ["voc", "yolo"])
def test_two_images_of_one_name_are_refused(tmp_path: Path, result_format: Any) -> None:
    twice = [prediction("a/1.jpg"), prediction("b/1.jpg")]
    with pytest.raises(UserError, match=r"a/1.jpg and b/1.jpg would both be written to 1\."):
        written(tmp_path, result_format, twice)


def test_a_broken_image_on_the_way_leaves_no_half_file(tmp_path: Path) -> None:
    def images() -> Any:
        yield PREDICTIONS[0]
        raise UserError("2.jpg: broken")

    for result_format in ("json", "csv", "coco"):
        with pytest.raises(UserError, match=r"2\.jpg"):
            list(write_predictions(images(), sources(PREDICTIONS), tmp_path, result_format, IDS))
    assert list(tmp_path.iterdir()) == []
