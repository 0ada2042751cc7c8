from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.exports.cvat import read_cvat
from detkit.annotations.voc_xml import read_voc_xml
from detkit.errors import UserError
from detkit.inference.formats import About
from detkit.inference.prediction import Prediction
from detkit.inference.records import Records
from detkit.inference.results import FORMATS, ResultFiles, ResultFormat, record
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


def written(
    folder: Path,
    result_format: ResultFormat,
    found: Sequence[Prediction] = PREDICTIONS,
    ids: Sequence[int] = IDS,
    classes: Sequence[str] = CLASSES,
) -> None:
    paths = [Path(str(one.source)) for one in found]
    about = About(classes, ids, "runs/model.safetensors")
    records = Records(folder, "", [""] * len(found))
    with ResultFiles(folder, result_format, paths, [path.name for path in paths], [], about) as files:
        for place, one in enumerate(found):
            made = record(one, ids)
            files.add(place, one, made)
            records.add(place, made)
        files.write(records)
    records.discard()


def of_video(folder: Path, result_format: ResultFormat, videos: Sequence[str] = ("in/film.mp4",)) -> None:
    """Write what was found in frames 0 and 10 of each video."""
    about = About(CLASSES, IDS, "model")
    records = Records(folder, "", [""] * len(videos))
    with ResultFiles(folder, result_format, [], [], videos, about) as files:
        for place, video in enumerate(videos):
            for frame in (0, 10):
                one = replace(prediction(video, (10, 5, 30, 45, 0.75, 1)), frame=frame, time_s=frame / 5)
                made = record(one, IDS)
                files.add(place, one, made)
                records.add(place, made)
        files.write(records)
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
        "frame": None,
        "time_s": None,
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
            "frame": None,
            "time_s": None,
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


@pytest.mark.parametrize("result_format", FORMATS)
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
    written(out, result_format, found, rows.tolist(), ODD_CLASSES)
    files = sorted(out.iterdir())
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != out] == []
    count = len(rows) * len(stems)
    texts = [file.read_text("utf-8") for file in files]
    if result_format in ("voc", "yolo"):
        assert len(files) == len(stems)
    if result_format == "json":
        labels = [one["label"] for image in json.loads(texts[0]) for one in image["detections"]]
        assert labels == [name.replace("\ud800", "\\ud800") for name in ODD_CLASSES] * len(stems)
    elif result_format == "jsonl":
        lines = [json.loads(line) for line in texts[0].splitlines()]
        assert sum(len(line["detections"]) for line in lines) == count
    elif result_format == "coco":
        assert len(json.loads(texts[0])) == count
        assert len(json.loads(texts[1])["images"]) == len(stems)
    elif result_format == "labelstudio":
        tasks = json.loads(texts[0])
        assert sum(len(task["predictions"][0]["result"]) for task in tasks) == count
    elif result_format == "cvat":
        boxes_in = [box.get("label") for box in ElementTree.fromstring(texts[0]).iterfind("image/box")]
        assert boxes_in == [one_line(name) for name in ODD_CLASSES] * len(stems)
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


def test_json_lines_are_there_as_they_come(tmp_path: Path) -> None:
    file, lines = tmp_path / "detections.jsonl", []
    records = Records(tmp_path, "", ["", ""])
    paths = [Path(str(one.source)) for one in PREDICTIONS]
    with ResultFiles(tmp_path, "jsonl", paths, ["a", "b"], [], About(CLASSES, IDS, "")) as files:
        for place, one in enumerate(PREDICTIONS):
            files.add(place, one, made := record(one, IDS))
            records.add(place, made)
            lines.append(made)
            assert [json.loads(line) for line in file.read_text().splitlines()] == lines
        files.write(records)
    assert [json.loads(line) for line in file.read_text().splitlines()] == lines


def test_frames_are_named_by_their_video_and_number(tmp_path: Path) -> None:
    of_video(tmp_path, "yolo")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["frame_000000.txt", "frame_000010.txt"]
    two = tmp_path / "two"
    two.mkdir()
    of_video(two, "voc", ["a.mp4", "b/../../a.mkv"])
    assert len(list(two.iterdir())) == 2
    assert sorted(str(file.relative_to(two)) for file in two.rglob("*.xml")) == [
        f"a%u-{digest}/frame_0000{number}.xml"
        for digest in sorted({file.parent.name[4:] for file in two.rglob("*.xml")})
        for number in ("00", "10")
    ]
    of_video(tmp_path, "labelstudio")
    tasks = json.loads((tmp_path / "detections.json").read_text())
    addresses = [f"/data/local-files/?d=frame_0000{number}.jpg" for number in ("00", "10")]
    assert [task["data"]["image"] for task in tasks] == addresses
    of_video(tmp_path, "csv")
    with (tmp_path / "detections.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["frame"], row["time_s"]) for row in rows] == [("0", "0.0"), ("10", "2.0")]
    of_video(tmp_path, "coco", ["a.mp4", "b.mp4"])
    images = json.loads((tmp_path / "images.json").read_text())["images"]
    names = ["a/frame_000000", "a/frame_000010", "b/frame_000000", "b/frame_000010"]
    assert [(image["id"], image["file_name"]) for image in images] == list(enumerate(names, 1))
    found = json.loads((tmp_path / "detections.json").read_text())
    assert [one["image_id"] for one in found] == [1, 2, 3, 4]


def test_pycocotools_reads_coco_results_with_the_images_beside_them(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    written(tmp_path, "coco")
    truth = coco.COCO(str(tmp_path / "images.json"))
    found = truth.loadRes(str(tmp_path / "detections.json"))
    assert truth.loadImgs([12, 34]) == [
        {"id": 12, "file_name": "000012.jpg", "width": 100, "height": 50},
        {"id": 34, "file_name": "000034.jpg", "width": 100, "height": 50},
    ]
    of_image = found.loadAnns(found.getAnnIds(12))
    named = {truth.cats[one["category_id"]]["name"]: one["bbox"] for one in of_image}
    assert named == {"bird": [10, 5, 20, 40], "cat & dog": [0, 0, 100, 50]}
    assert found.getAnnIds(34) == []


@pytest.mark.parametrize("result_format", ["voc", "yolo"])
def test_supervision_reads_voc_and_yolo(tmp_path: Path, result_format: ResultFormat) -> None:
    supervision = pytest.importorskip("supervision")
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for name in ("000012", "000034"):
        Image.new("RGB", (100, 50)).save(images / f"{name}.jpg")
    written(labels, result_format)
    if result_format == "yolo":
        (tmp_path / "data.yaml").write_text("names: ['cat & dog', bird]\n")
        read = supervision.DetectionDataset.from_yolo(str(images), str(labels), str(tmp_path / "data.yaml"))
    else:
        read = supervision.DetectionDataset.from_pascal_voc(str(images), str(labels))
    [found, nothing] = [labels for _, _, labels in read]
    names = [read.classes[label] for label in found.class_id]
    boxes = dict(zip(names, found.xyxy.round(3).tolist(), strict=True))
    assert boxes == {"bird": [10, 5, 30, 45], "cat & dog": [0, 0, 100, 50]}
    assert len(nothing) == 0


LABEL_STUDIO = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data", "predictions"],
        "properties": {
            "data": {"type": "object", "required": ["image"], "properties": {"image": {"type": "string"}}},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["result", "model_version"],
                    "properties": {
                        "model_version": {"type": "string"},
                        "score": {"type": "number", "minimum": 0, "maximum": 1},
                        "result": {"type": "array", "items": {"$ref": "#/$defs/region"}},
                    },
                },
            },
        },
    },
    "$defs": {
        "percent": {"type": "number", "minimum": 0, "maximum": 100},
        "region": {
            "type": "object",
            "required": ["id", "type", "from_name", "to_name", "value"],
            "properties": {
                "id": {"type": "string"},
                "type": {"const": "rectanglelabels"},
                "original_width": {"type": "integer"},
                "original_height": {"type": "integer"},
                "image_rotation": {"type": "integer"},
                "score": {"type": "number"},
                "value": {
                    "type": "object",
                    "required": ["x", "y", "width", "height", "rectanglelabels"],
                    "properties": {
                        **{key: {"$ref": "#/$defs/percent"} for key in ("x", "y", "width", "height")},
                        "rotation": {"type": "number"},
                        "rectanglelabels": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
    },
}
"""Pre-annotations, as Label Studio's guide "Import pre-annotated data" describes them."""


def test_label_studio_gets_tasks_with_pre_annotations(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    written(tmp_path, "labelstudio", [*PREDICTIONS, prediction("a b/ü&.jpg", (1, 1, 2, 2, 0.5, 0))])
    tasks = json.loads((tmp_path / "detections.json").read_text())
    jsonschema.validate(tasks, LABEL_STUDIO)
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=000012.jpg",
        "/data/local-files/?d=000034.jpg",
        "/data/local-files/?d=%C3%BC%26.jpg",
    ]
    [first] = tasks[0]["predictions"]
    assert (first["model_version"], first["score"]) == ("runs/model.safetensors", 0.625)
    values = [region["value"] for region in first["result"]]
    assert values[0].pop("rectanglelabels") == ["bird"]
    assert values[0] == pytest.approx({"x": 10, "y": 10, "width": 20, "height": 80, "rotation": 0})
    assert tasks[1]["predictions"] == [{"model_version": "runs/model.safetensors", "result": []}]


def test_cvat_gets_images_with_boxes_of_labels_that_it_is_told(tmp_path: Path) -> None:
    written(tmp_path, "cvat")
    tree = ElementTree.parse(tmp_path / "detections.xml").getroot()
    assert (tree.tag, tree.findtext("version")) == ("annotations", "1.1")
    assert [node.text for node in tree.iterfind("meta/task/labels/label/name")] == [*CLASSES]
    first, second = tree.iterfind("image")
    assert first.attrib == {"id": "0", "name": "000012.jpg", "width": "100", "height": "50"}
    assert (second.get("id"), len(second)) == ("1", 0)
    assert first[0].attrib == {
        "label": "bird",
        "source": "auto",
        "occluded": "0",
        "xtl": "10.00",
        "ytl": "5.00",
        "xbr": "30.00",
        "ybr": "45.00",
        "z_order": "0",
    }
    assert [(node.get("name"), node.text) for node in first[0]] == [("score", "0.750000")]
    [read, nothing] = read_cvat(tmp_path / "detections.xml")
    assert (read.name, read.size, nothing.name) == ("000012.jpg", (50, 100), "000034.jpg")
