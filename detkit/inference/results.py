"""Writers of predictions: JSON, COCO results, VOC XML, YOLO text or CSV."""

from __future__ import annotations

import csv
import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal, overload
from xml.sax.saxutils import escape

import numpy as np

from detkit.annotations.coordinates import corners_to_voc, corners_to_xywh
from detkit.errors import UserError
from detkit.inference.prediction import Prediction
from detkit.names import file_name, one_file, one_line
from detkit.storage.atomic import durable_file, write_atomically
from detkit.storage.json_text import json_bytes

ResultFormat = Literal["json", "coco", "voc", "yolo", "csv"]
_MOST_DIGITS = 18  # of a number of 64 bits
_COLUMNS = ("image", "label", "category_id", "score", "x1", "y1", "x2", "y2")


def write_predictions(
    predictions: Iterable[Prediction],
    sources: Sequence[Path],
    folder: Path,
    result_format: ResultFormat,
    category_ids: Sequence[int],
) -> Iterator[Prediction]:
    """Write predictions while they come, and pass them on, in no more memory for more images.

    `json` and `coco` and `csv` make one file each, `detections.json` or `detections.csv`, which appears
    when all is done; `voc` and `yolo` one file an image, named after it.

    Args:
        predictions: what a detector found; each has the path of its image.
        sources: the paths of all the images, in the same order.
        folder: where the files go, new or empty.
        result_format: json (a list of `record`), coco (a list of COCO results; image ids are the file
            names where all are numbers, otherwise 1, 2, ...), voc (XML, with a score), yolo (class,
            centre, size and score) or csv.
        category_ids: ids of the classes in the dataset.

    Raises:
        UserError: two images share a name that a file of their own would get.
    """
    writers: dict[ResultFormat, Callable[..., Iterator[Prediction]]] = {
        "json": _json,
        "coco": _coco,
        "voc": partial(_one_file_each, suffix=".xml", text=_voc_text),
        "yolo": partial(_one_file_each, suffix=".txt", text=_yolo_text),
        "csv": _csv,
    }
    return writers[result_format](predictions, sources, folder, category_ids)


def record(prediction: Prediction, category_ids: Sequence[int]) -> dict[str, Any]:
    """Return a prediction as plain values: image, width, height and detections.

    Args:
        prediction: what was found in one image.
        category_ids: ids of the classes in the dataset.

    Returns:
        `{image, width, height, detections[{box, label, category_id, score}]}`; a box is x1, y1, x2, y2
        in pixels.
    """
    height, width = prediction.size
    detections = [
        {"box": box, "label": name, "category_id": int(category_ids[label]), "score": score}
        for box, name, label, score in zip(
            prediction.boxes.tolist(),
            prediction.names,
            prediction.labels.tolist(),
            prediction.scores.tolist(),
            strict=True,
        )
    ]
    return {"image": prediction.source, "width": width, "height": height, "detections": detections}


def coco_results(prediction: Prediction, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return a prediction as COCO results, `{image_id, category_id, bbox[x, y, width, height], score}`."""
    boxes = corners_to_xywh(prediction.boxes.astype(np.float64)).tolist()
    return [
        {"image_id": image_id, "category_id": one["category_id"], "bbox": box, "score": one["score"]}
        for one, box in zip(record(prediction, category_ids)["detections"], boxes, strict=True)
    ]


def number_of(stem: str) -> int | None:
    """Return the number that a file is called by, as COCO's images are; None where its name is none."""
    return int(stem) if stem.isdecimal() and len(stem) <= _MOST_DIGITS else None


class Records(Sequence[dict[str, Any]]):
    """Records of images, kept in a file without a name that goes when they do; see `record`.

    Args:
        folder: on whose disk the file is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (as long as the records)
        weakref.finalize(self, self._file.close)
        self._starts = array("q", [0])

    def add(self, record: dict[str, Any]) -> None:
        """Keep one more."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record).encode())
        self._starts.append(self._file.tell())

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        one = range(len(self))[place]
        self._file.seek(self._starts[one])
        kept: dict[str, Any] = json.loads(self._file.read(self._starts[one + 1] - self._starts[one]))
        return kept


def _json(
    predictions: Iterable[Prediction], sources: Sequence[Path], folder: Path, ids: Sequence[int]
) -> Iterator[Prediction]:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        before = b"[\n"
        for prediction in predictions:
            stream.write(before + json_bytes(record(prediction, ids)))
            before = b",\n"
            yield prediction
        stream.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _csv(
    predictions: Iterable[Prediction], sources: Sequence[Path], folder: Path, ids: Sequence[int]
) -> Iterator[Prediction]:
    with (
        durable_file(folder / "detections.csv") as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for prediction in predictions:
            for found in record(prediction, ids)["detections"]:
                table.writerow(
                    [prediction.source, found["label"], found["category_id"], found["score"], *found["box"]]
                )
            yield prediction


def _coco(
    predictions: Iterable[Prediction], sources: Sequence[Path], folder: Path, ids: Sequence[int]
) -> Iterator[Prediction]:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        before = b"["
        for prediction, image_id in zip(predictions, _image_ids(sources), strict=True):
            for result in coco_results(prediction, image_id, ids):
                stream.write(before + json_bytes(result))
                before = b","
            yield prediction
        stream.write(b"[]" if before == b"[" else b"]")


def _image_ids(sources: Sequence[Path]) -> Sequence[int]:
    numbers = [number for source in sources if (number := number_of(source.stem)) is not None]
    return numbers if len(set(numbers)) == len(sources) else range(1, len(sources) + 1)


def _one_file_each(
    predictions: Iterable[Prediction],
    sources: Sequence[Path],
    folder: Path,
    ids: Sequence[int],
    *,
    suffix: str,
    text: Callable[[Prediction], str],
) -> Iterator[Prediction]:
    names = [f"{file_name(source.stem)}{suffix}" for source in sources]
    same = one_file(names, folder)
    if same is not None:
        first, second = (sources[place] for place in same)
        raise UserError(
            f"{first} and {second} would both be written to {names[same[1]]}; "
            "predict them into different folders, or take --format json"
        )
    for prediction, name in zip(predictions, names, strict=True):
        write_atomically(folder / name, text(prediction), sync=False)
        yield prediction


def _voc_text(prediction: Prediction) -> str:
    height, width = prediction.size
    lines = [
        "<annotation>",
        f"  <filename>{escape(one_line(PurePath(prediction.source or '').name))}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes = corners_to_voc(prediction.boxes.astype(np.float64)).tolist()
    for name, score, (x1, y1, x2, y2) in zip(
        prediction.names, prediction.scores.tolist(), boxes, strict=True
    ):
        corners = f"<xmin>{x1:.2f}</xmin><ymin>{y1:.2f}</ymin><xmax>{x2:.2f}</xmax><ymax>{y2:.2f}</ymax>"
        lines.append(
            f"  <object><name>{escape(one_line(name))}</name><difficult>0</difficult>"
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
