"""Formats of predictions: what other programs read, of one image or of all, one record after another."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from detkit.annotations.coordinates import corners_to_voc, corners_to_xywh, points_from_pixels
from detkit.inference.prediction import Prediction
from detkit.names import encodable, one_line
from detkit.storage.atomic import durable_file
from detkit.storage.json_text import json_bytes

_COLUMNS = ("image", "label", "category_id", "score", "x1", "y1", "x2", "y2", "frame", "time_s")


class About(NamedTuple):
    """What files say of the model.

    Attributes:
        classes: K names.
        category_ids: K ids of the classes in the dataset it was trained on.
        model: what tells it apart from others.
    """

    classes: Sequence[str]
    category_ids: Sequence[int]
    model: str


class Named(NamedTuple):
    """A record with the number and the name of its image."""

    id: int
    name: str
    record: dict[str, Any]


class Text(NamedTuple):
    """Format of a file of one image."""

    suffix: str
    text_of: Callable[[Prediction], str]


Rows = Callable[[], Iterator[Named]]


def coco_results(record: dict[str, Any], image_id: int) -> list[dict[str, Any]]:
    """Return a record as COCO results, `{image_id, category_id, bbox[x, y, width, height], score}`.

    With key points each has `keypoints` too, x, y and 1 of every point.
    """
    found = record["detections"]
    corners = np.asarray([one["box"] for one in found], dtype=np.float64).reshape(-1, 4)
    results = [
        {"image_id": image_id, "category_id": one["category_id"], "bbox": box, "score": one["score"]}
        for one, box in zip(found, corners_to_xywh(corners).tolist(), strict=True)
    ]
    for one, result in zip(found, results, strict=True):
        if one["keypoints"] is not None:
            points = points_from_pixels(np.asarray(one["keypoints"]), "coco")
            result["keypoints"] = [value for x, y in points.tolist() for value in (x, y, 1)]
    return results


def _json(rows: Rows, folder: Path, about: About) -> None:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        _write_list(stream, (row.record for row in rows()), lines=True)


def _json_lines(rows: Rows, folder: Path, about: About) -> None:
    with durable_file(folder / "detections.jsonl") as part, part.open("wb") as stream:
        stream.writelines(json_bytes(row.record) + b"\n" for row in rows())


def _csv(rows: Rows, folder: Path, about: About) -> None:
    with (
        durable_file(folder / "detections.csv") as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for _, _, one in rows():
            for found in one["detections"]:
                own = found["label"], found["category_id"], found["score"], *found["box"]
                table.writerow([one["image"], *own, one["frame"], one["time_s"]])


def _coco(rows: Rows, folder: Path, about: About) -> None:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        _write_list(stream, (result for row in rows() for result in coco_results(row.record, row.id)))
    known = [{"id": number, "name": name} for number, name in _categories(about)]
    images = (
        {"id": number, "file_name": name, "width": one["width"], "height": one["height"]}
        for number, name, one in rows()
        if one["error"] is None
    )
    with durable_file(folder / "images.json") as part, part.open("wb") as stream:
        stream.write(b'{"categories":' + json_bytes(known) + b',"annotations":[],"images":')
        _write_list(stream, images)
        stream.write(b"}")


def _categories(about: About) -> Iterator[tuple[int, str]]:
    return zip(map(int, about.category_ids), about.classes, strict=True)


def _write_list(stream: BinaryIO, values: Iterator[Any], *, lines: bool = False) -> None:
    end = b"\n" if lines else b""
    before = b"[" + end
    for value in values:
        stream.write(before + json_bytes(value))
        before = b"," + end
    stream.write((b"[]" if before.startswith(b"[") else end + b"]") + end)


def _label_studio(rows: Rows, folder: Path, about: About) -> None:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        _write_list(stream, (_task(row, about.model) for row in rows() if row.record["error"] is None))


def _task(row: Named, model: str) -> dict[str, Any]:
    """Return an image as a task of Label Studio, whose boxes are per cent of the image."""
    _, name, one = row
    width, height = one["width"], one["height"]
    regions = []
    for place, found in enumerate(one["detections"], 1):
        x1, y1, x2, y2 = found["box"]
        sides = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
        value = {key: 100 * part for key, part in sides.items()}
        regions.append(
            {
                "id": str(place),
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": value | {"rotation": 0, "rectanglelabels": [found["label"]]},
                "score": found["score"],
            }
        )
    prediction: dict[str, Any] = {"model_version": model, "result": regions}
    if regions:
        prediction["score"] = sum(region["score"] for region in regions) / len(regions)
    file = name if one["frame"] is None else f"{name}.jpg"  # of a video: as ffmpeg writes its frames
    address = "/data/local-files/?d=" + quote(encodable(file))
    return {"data": {"image": address}, "predictions": [prediction]}


def _cvat(rows: Rows, folder: Path, about: About) -> None:
    """Write "CVAT for images 1.1"; a score is an attribute, which CVAT keeps where the label has one."""
    label = (
        "<label><name>{}</name><type>rectangle</type><attributes><attribute><name>score</name>"
        "<mutable>False</mutable><input_type>text</input_type><default_value></default_value><values></values>"
        "</attribute></attributes></label>"
    )
    labels = "".join(label.format(_xml(name)) for name in dict.fromkeys(about.classes))
    with durable_file(folder / "detections.xml") as part, part.open("w", encoding="utf-8") as stream:
        stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        stream.write(
            f"  <meta><task><name>{_xml(about.model)}</name><labels>{labels}</labels></task></meta>\n"
        )
        for place, (_, name, one) in enumerate(row for row in rows() if row.record["error"] is None):
            size = f'width="{one["width"]}" height="{one["height"]}"'
            stream.write(f'  <image id="{place}" name={quoteattr(one_line(name))} {size}>\n')
            stream.writelines(map(_cvat_box, one["detections"]))
            stream.write("  </image>\n")
        stream.write("</annotations>\n")


def _cvat_box(found: dict[str, Any]) -> str:
    x1, y1, x2, y2 = found["box"]
    return (
        f'    <box label={quoteattr(one_line(found["label"]))} source="auto" occluded="0" '
        f'xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}" z_order="0">'
        f'<attribute name="score">{found["score"]:.6f}</attribute></box>\n'
    )


def _xml(text: str) -> str:
    return escape(one_line(text))


def _voc_text(prediction: Prediction) -> str:
    height, width = prediction.size
    lines = [
        "<annotation>",
        f"  <filename>{_xml(PurePath(prediction.source or '').name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes = corners_to_voc(prediction.boxes.astype(np.float64)).tolist()
    for name, score, (x1, y1, x2, y2) in zip(
        prediction.names, prediction.scores.tolist(), boxes, strict=True
    ):
        corners = f"<xmin>{x1:.2f}</xmin><ymin>{y1:.2f}</ymin><xmax>{x2:.2f}</xmax><ymax>{y2:.2f}</ymax>"
        lines.append(
            f"  <object><name>{_xml(name)}</name><difficult>0</difficult>"
            f"<bndbox>{corners}</bndbox><score>{score:.6f}</score></object>"
        )
    return "\n".join([*lines, "</annotation>\n"])


def _yolo_text(prediction: Prediction) -> str:
    height, width = prediction.size
    boxes = prediction.boxes.astype(np.float64) / [width, height, width, height]
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rows = zip(
        prediction.labels.tolist(), centres.tolist(), sides.tolist(), prediction.scores.tolist(), strict=True
    )
    return "".join(
        f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n" for label, (x, y), (w, h), score in rows
    )


TEXTS = {"voc": Text(".xml", _voc_text), "yolo": Text(".txt", _yolo_text)}
"""Formats with a file an image."""

DOCUMENTS: dict[str, Callable[[Rows, Path, About], None]] = {
    "json": _json,
    "jsonl": _json_lines,
    "coco": _coco,
    "csv": _csv,
    "cvat": _cvat,
    "labelstudio": _label_studio,
}
"""Formats with one file of all images: each writes what a function yields, into a folder."""
