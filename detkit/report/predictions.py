"""A prediction shown: as text, drawn, in a notebook, in a file, and as other packages' tables."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.data.images import decode_image
from detkit.errors import UserError, cut
from detkit.inference.prediction import Prediction
from detkit.names import one_line
from detkit.report.draw import draw_detections, encoded, fit, write_image
from detkit.report.markup import element, joined
from detkit.storage.atomic import write_atomically
from detkit.storage.json_text import json_bytes
from detkit.storage.regular_files import is_file, is_folder

if TYPE_CHECKING:
    import pandas
    import supervision

_ROWS = 20
_LONGEST_NAME = 40  # letters
_NOTEBOOK_PX = 800  # longer side of the picture
_PICTURES = (".jpg", ".jpeg", ".png")
_HEADINGS = ("", "name", "score", "x1", "y1", "x2", "y2")


def as_text(found: Prediction) -> str:
    """Return a heading and a table of the first 20 detections."""
    rows = [_HEADINGS, *_rows(found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([_heading(found), *(lines if len(found) else []), *_rest(found)])


def as_html(found: Prediction) -> str:
    """Return the picture, at most 800 pixels wide and high, and the table; it needs nothing but itself."""
    parts = [element("p", _heading(found))]
    try:
        picture = encoded(".jpg", _drawn_small(found))
        source = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        parts.append(element("img", src=source, alt="the image with the detections drawn on it"))
    except UserError as error:  # a notebook is opened again where the images are not
        parts.append(element("p", f"not drawn: {error}"))
    if len(found):
        head = element("tr", *(element("th", heading) for heading in _HEADINGS))
        rows = [element("tr", *(element("td", cell) for cell in row)) for row in _rows(found)]
        parts.append(element("table", head, *rows))
    return element("div", joined(*parts, *(element("p", line) for line in _rest(found))))


def drawn(found: Prediction) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB pixels: the image with the detections on it.

    Of classes that are said of the whole image, as a classifier's are, the first is drawn: one would hide
    another.

    Raises:
        UserError: the file cannot be read any more, or is another image now.
    """
    shown = _shown(found)
    return _draw(_pixels(found), shown)


def write(found: Prediction, path: Path) -> Path:
    """Write the drawn image (.jpg, .jpeg, .png) or the plain values (.json), and return the path.

    Raises:
        UserError: the name has another ending or is the image's own, the image cannot be read any more, or
            the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in (*_PICTURES, ".json") or is_folder(path):
        raise UserError(
            f"{path}: a prediction is saved as *.jpg, *.jpeg or *.png (the drawn image), or as *.json"
        )
    source = Path(found.source or "")
    if is_file(path) and is_file(source) and path.samefile(source):
        raise UserError(f"{path}: is the image itself, which is not overwritten; choose another name")
    if kind == ".json":
        write_atomically(path, json_bytes(found.to_dict(), indented=True))
    else:
        write_image(path, drawn(found))
    return path


def as_data_frame(found: Prediction) -> pandas.DataFrame:
    """Return a row for each detection: image, label (a name), category_id, score, x1, y1, x2, y2."""
    columns = {
        "image": [found.source] * len(found),
        "label": list(found.names),
        "category_id": [found.category_ids[label] for label in found.labels],
        "score": found.scores,
        **dict(zip(_HEADINGS[3:], found.boxes.T, strict=True)),
    }
    return _installed("pandas").DataFrame(columns)


def as_supervision(found: Prediction) -> supervision.Detections:
    """Return `supervision.Detections`, with the names of the classes as data["class_name"]."""
    made: supervision.Detections = _installed("supervision").Detections(
        xyxy=found.boxes,
        confidence=found.scores,
        class_id=found.labels,
        data={"class_name": np.array(found.names, dtype=str)},
    )
    return made


def _installed(package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UserError(f"{package}: is not installed; pip install {package}") from None


def _heading(found: Prediction) -> str:
    height, width = found.size
    image = "pixels" if found.source is None else one_line(found.source)
    count = "1 detection" if len(found) == 1 else f"{len(found)} detections"
    return f"{image} ({width} x {height}): {count}"


def _rows(found: Prediction) -> Iterator[tuple[str, ...]]:
    for place, one in enumerate(found[:_ROWS]):
        name = cut(one_line(one.name), _LONGEST_NAME)
        yield str(place), name, f"{one.score:.2f}", *(f"{value:.1f}" for value in one.box.tolist())


def _rest(found: Prediction) -> list[str]:
    return [f"... and {len(found) - _ROWS} more"] if len(found) > _ROWS else []


def _pixels(found: Prediction) -> NDArray[np.uint8]:
    if found.source is None:
        if found.pixels is None:
            raise UserError("the prediction has neither the path of its image nor its pixels")
        return found.pixels
    pixels = decode_image(Path(found.source))
    if pixels.shape[:2] != found.size:
        height, width = pixels.shape[:2]
        raise UserError(
            f"{found.source}: is another image now, {width} x {height} pixels; the detections are of one of "
            f"{found.size[1]} x {found.size[0]}"
        )
    return pixels


def _shown(found: Prediction) -> Prediction:
    height, width = found.size
    whole = bool((found.boxes == np.array([0, 0, width, height])).all())
    return found[:1] if whole else found


def _drawn_small(found: Prediction) -> NDArray[np.uint8]:
    pixels, shown = _pixels(found), _shown(found)
    small = fit(pixels, _NOTEBOOK_PX) if max(found.size) > _NOTEBOOK_PX else pixels
    factor = np.array([small.shape[1] / found.size[1], small.shape[0] / found.size[0]] * 2)
    return _draw(small, shown, factor)


def _draw(pixels: NDArray[np.uint8], shown: Prediction, factor: Any = 1.0) -> NDArray[np.uint8]:
    parts = None if shown.parts is None else shown.parts * factor
    points = None if shown.keypoints is None else shown.keypoints * np.resize(factor, 2)
    return draw_detections(
        pixels, shown.boxes * factor, shown.labels, shown.scores, shown.classes, parts=parts, keypoints=points
    )
