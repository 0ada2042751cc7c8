from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from detkit.annotations.voc_xml import read_voc_xml
from detkit.errors import UserError
from detkit.inference.prediction import Prediction
from detkit.inference.records import Records
from detkit.inference.results import ResultFormat, image_files, record, write_image_file, write_results
from detkit.names import one_line

IDS = (7, 3)
CLASSES = ("cat & dog", "bird")


def prediction(source: str, *rows: tuple[float, float, float, float, float, int]) -> Prediction:
    table = np.array([row[:5] for row in rows], dtype=np.float32).reshape(-1, 5)
    labels = np.array([row[5] for row in rows], dtype=np.int64)
    names = tuple(CLASSES[label] for label in labels)
    columns = table[:, :4], table[:, 4], labels, names
    return Prediction(source, (50, 100), *columns, classes=CLASSES, category_ids=IDS)


PREDICTIONS = [
    prediction("in/000012.jpg", (10, 5, 30, 45, 0.75, 1), (0, 0, 100, 50, 0.5, 0)),
    prediction("in/000034.jpg"),
]


def sources(found: Sequence[Prediction]) -> list[Path]:
    return [Path(str(one.source)) for one in found]


def written(
    folder: Path,
    result_format: ResultFormat,
    found: Sequence[Prediction] = PREDICTIONS,
    ids: Sequence[int] = IDS,
) -> None:
    files = image_files(sources(found), folder, result_format)
    records = Records(folder, "", [""] * len(found))
    for place, one in enumerate(found):
        if files is not None:
            write_image_file(files[place], one, result_format)
        records.add(place, record(one, ids))
    write_results(records, sources(found), folder, result_format)
    records.discard()


def test_json_is_a_list_of_images_with_named_boxes(tmp_path: Path) -> None:
    written(tmp_path, "json")
    content = json.loads((tmp_path / "detections.json").read_text())
    assert content == [record(one, IDS) for one in PREDICTIONS]
    assert content[0] == {
        "image": "in/000012.jpg",
        "width": 100,
        "height": 50,
        "detections": [
            {
                "box": [10, 5, 30, 45],
                "label": "bird",
                "category_id": 3,
                "score": 0.75,
                "margin": None,
                "keypoints": None,
            },
            {
                "box": [0, 0, 100, 50],
                "label": "cat & dog",
                "category_id": 7,
                "score": 0.5,
                "margin": None,
                "keypoints": None,
            },
        ],
        "error": None,
    }
    assert content[1]["detections"] == []


@pytest.mark.parametrize("result_format", ["json", "coco", "csv"])
def test_images_that_could_not_be_read_are_listed_beside_the_results(
    tmp_path: Path, result_format: ResultFormat
) -> None:
    unread = Prediction.unread("in/b.jpg", "in/b.jpg: the file is empty", ("cat", "dog"), IDS)
    written(tmp_path, result_format, [PREDICTIONS[0], unread])
    assert json.loads((tmp_path / "skipped.json").read_text()) == [
        {"image": "in/b.jpg", "error": "in/b.jpg: the file is empty"}
    ]
    if result_format == "json":
        assert json.loads((tmp_path / "detections.json").read_text())[1] == {
            "image": "in/b.jpg",
            "width": None,
            "height": None,
            "detections": [],
            "error": "in/b.jpg: the file is empty",
        }
    written(tmp_path, result_format)
    assert not (tmp_path / "skipped.json").exists()


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


ODD_CLASSES = (
    "../../../escaped",
    "\x1b[31mred\x07",
    "\ud800",
    "nul\0",
    "a\nb",
    "x" * 100_000,
    "</name>",
    '"',
)


@pytest.mark.parametrize("result_format", ["json", "coco", "voc", "yolo", "csv"])
def test_files_hold_together_whatever_classes_and_images_are_called(
    tmp_path: Path, result_format: Any
) -> None:
    rows = np.arange(len(ODD_CLASSES))
    boxes = np.tile(np.float32([1, 2, 30, 40]), (len(rows), 1))
    stems = ("\udcff", "x" * 250, "a\nb", "\x1b[31m", "%u002F", "-rf")
    columns, known = (boxes, np.float32(rows / 10), rows, ODD_CLASSES), tuple(rows.tolist())
    found = [
        Prediction(f"in/{stem}.jpg", (50, 100), *columns, classes=ODD_CLASSES, category_ids=known)
        for stem in stems
    ]
    out = tmp_path / "a" / "b" / "c" / "out"
    out.mkdir(parents=True)
    written(out, result_format, found, rows.tolist())
    files = sorted(out.iterdir())
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != out] == []
    count = len(rows) * len(stems)
    texts = [file.read_text("utf-8") for file in files]
    if result_format in ("voc", "yolo"):
        assert len(files) == len(stems)
    if result_format == "json":
        labels = [one["label"] for image in json.loads(texts[0]) for one in image["detections"]]
        assert labels == [name.replace("\ud800", "\\ud800") for name in ODD_CLASSES] * len(stems)
    elif result_format == "coco":
        assert len(json.loads(texts[0])) == count
    elif result_format == "csv":
        read = list(csv.DictReader(io.StringIO(texts[0], newline="")))
        assert [row["label"] for row in read] == [n.replace("\ud800", "\\ud800") for n in ODD_CLASSES] * len(
            stems
        )
    elif result_format == "voc":
        # By the XML alone: as a dataset, names of 100,000 letters are refused.
        found_names = [ElementTree.parse(file).iterfind("object/name") for file in files]
        names = [element.text for each in found_names for element in each]
        assert names == [one_line(name) for name in ODD_CLASSES] * len(stems)
    else:
        assert sum(len(text.splitlines()) for text in texts) == count


def test_image_ids_are_numbers_that_every_reader_takes(tmp_path: Path) -> None:
    found = [prediction(f"{'9' * 20}.jpg", (1, 1, 2, 2, 0.5, 0)), prediction("2.jpg", (1, 1, 2, 2, 0.5, 0))]
    written(tmp_path, "coco", found)
    assert [r["image_id"] for r in json.loads((tmp_path / "detections.json").read_text())] == [1, 2]


def test_two_images_are_refused_where_the_folder_does_not_tell_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [prediction("a/1a.jpg"), prediction("a/1A.jpg")]
    written(tmp_path, "voc", found)
    monkeypatch.setattr("detkit.names._tells_case", lambda folder: False)
    with pytest.raises(UserError, match=r"1a.jpg and a/1A.jpg would both be written to 1A\.xml"):
        written(tmp_path, "voc", found)
