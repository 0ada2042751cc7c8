"""Reader of Label Studio's JSON and JSON-MIN exports, whose boxes are per cent of the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from detkit.annotations.coco import read_json
from detkit.annotations.coordinates import pixels
from detkit.annotations.exports.records import (
    Box,
    ExportedImage,
    enclosing,
    numbers,
    points,
    require_name,
    turned,
)
from detkit.annotations.image_files import IMAGE_EXTENSIONS
from detkit.annotations.validity import stated_size
from detkit.errors import UserError

_KINDS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")


def is_label_studio(content: Any) -> bool:
    """Return whether the content of a JSON file is Label Studio's: a list of tasks with images."""
    return isinstance(content, list) and any(_image_of(task) for task in content[:10])


def read_label_studio(file: Path) -> list[ExportedImage]:
    """Return the images of a file; of a polygon or an ellipse the enclosing box is taken.

    Where several people have labelled an image, what is marked as ground truth is taken, otherwise the first
    that was not cancelled. Brushes and key points are passed over.

    Raises:
        UserError: the file cannot be read, or is no list of tasks with images.
    """
    content = read_json(file)
    if not is_label_studio(content):
        raise UserError(
            f"{file}: not Label Studio's: wanted is its export as JSON, a list of tasks with images"
        )
    images = []
    for place, task in enumerate(content):
        address = _image_of(task)
        if not address:
            raise UserError(f"{file}: task [{place}] has no image in its data")
        image = ExportedImage(require_name(_file_of(address), f"{file}: task [{place}]"), file)
        for number, (result, value) in enumerate(_regions(task), 1):
            if not any(image.size):
                image.size = stated_size(result.get("original_height"), result.get("original_width"))
            _read_region(image, number, value)
        images.append(image)
    return images


def _image_of(task: Any) -> str:
    """Return the address of a task's image; JSON-MIN has it in the task itself."""
    data = task.get("data", task) if isinstance(task, dict) else {}
    texts = {key: v for key, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
    if "image" in texts:
        return texts["image"]
    return next((text for text in texts.values() if _file_of(text).lower().endswith(IMAGE_EXTENSIONS)), "")


def _file_of(address: str) -> str:
    """Return the path at the end of an address such as /data/local-files/?d=photos/a.jpg."""
    try:
        parts = urlsplit(address)
        named = parse_qs(parts.query).get("d", [])
    except ValueError:
        return address
    return named[0] if named else unquote(parts.path) if parts.scheme or parts.query else address


def _regions(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each region, and where its numbers are: the same in JSON-MIN."""
    given = task.get("annotations", task.get("completions"))
    if isinstance(given, list):
        done = [item for item in given if isinstance(item, dict) and not item.get("was_cancelled")]
        chosen = next((item for item in done if item.get("ground_truth")), done[0] if done else {})
        lists = [chosen.get("result")]
    else:
        lists = [value for key, value in task.items() if key != "data"]
    for region in (region for values in lists if isinstance(values, list) for region in values):
        value = region.get("value", region) if isinstance(region, dict) else None
        if isinstance(value, dict) and any(key in value for key in _KINDS):
            yield region, value


def _read_region(image: ExportedImage, number: int, value: dict[str, Any]) -> None:
    names = next(value[key] for key in _KINDS if key in value)
    name = names[0] if isinstance(names, list) and names else None
    image.add(number, name, _in_pixels(value, image.size))


def _in_pixels(value: dict[str, Any], size: tuple[int, int]) -> Box | None:
    height, width = size
    if not height:
        return None
    if "points" in value:
        outline = points(value["points"])
        box = enclosing(outline and [(x * width / 100, y * height / 100) for x, y in outline])
    elif "radiusX" in value:
        numbered = numbers([value.get(key) for key in ("x", "y", "radiusX", "radiusY")])
        box = (numbered and _scaled(numbered, width, height, centred=True)) or None
    else:
        numbered = numbers([value.get(key) for key in ("x", "y", "width", "height")])
        degrees = numbers([value.get("rotation") or 0])
        box = (numbered and _scaled(numbered, width, height, centred=False)) or None
        if box and degrees:
            box = turned(box, degrees[0], box[:2])
    if box is None:
        return None
    x, y, w, h = pixels(np.asarray([box]))[0].tolist()
    return x, y, w, h


def _scaled(values: list[float], width: int, height: int, *, centred: bool) -> Box:
    x, y, w, h = values
    if centred:
        x, y, w, h = x - w, y - h, 2 * w, 2 * h
    return x * width / 100, y * height / 100, w * width / 100, h * height / 100
