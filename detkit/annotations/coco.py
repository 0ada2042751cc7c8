"""Reader of COCO instance annotations."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.class_names import class_ids, label_names
from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError

Record = dict[str, Any]
_SECTIONS = ("images", "annotations", "categories")


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the collection of cycles in a `with`, or in a function decorated with `@paused_collection()`.

    A parsed file is a tree of new dicts and lists without cycles. While it grows, the collector would
    search it over and over: half of the time it takes to read a COCO-size file.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@paused_collection()
def read_coco(
    images: Path,
    annotations: Path,
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = (),
) -> AnnotationSet:
    """Read a COCO JSON file; image files are named, not opened (see `require_images`).

    Category ids may have gaps, images may be empty, annotation ids and areas may be missing (then ids
    follow the largest, and the area is width times height). A class without a category in the file
    gets an id that no category has. `write_coco` adds a `difficult` key of its own, which is read back.

    Args:
        images: folder that the file names start from.
        annotations: the JSON file.
        classes: class names in label order; None takes the categories in order of their ids.
        ignore_classes: names whose objects are left out; their images are kept.

    Raises:
        UserError: the file is not JSON (line and column are named), a key is missing, an image id is
            repeated, or an annotation has an unknown image or category or a box that is not 4 numbers.
    """
    content = read_json(annotations)
    if not isinstance(content, dict):
        raise UserError(f"{annotations}: a COCO file is an object with images, annotations and categories")
    image_records, objects, categories = (_records(content, key, annotations) for key in _SECTIONS)
    image_ids = _unique_ids(image_records, "images", annotations)
    category_ids = _unique_ids(categories, "categories", annotations)
    files = column(image_records, "file_name", "images", annotations)
    category_names = [str(name) for name in column(categories, "name", "categories", annotations)]
    owner = _positions(objects, "image_id", image_ids, annotations)
    category = _positions(objects, "category_id", category_ids, annotations)
    names = [category_names[position] for position in category.tolist()]
    by_id = np.argsort(category_ids, kind="stable").tolist()
    kept = [category_names[i] for i in by_id if category_names[i] not in set(ignore_classes)]
    kept = kept if classes is None else list(classes)
    labels = label_names(names, kept, ignore_classes, lambda i: _place(objects, i, annotations))
    order = np.argsort(owner, kind="stable")
    order = order[np.asarray(labels, dtype=np.int32)[order] >= 0]
    known = dict(zip(category_names, category_ids.tolist(), strict=True))
    boxes = box_column(objects, "annotations", annotations)[order]
    return AnnotationSet(
        classes=tuple(kept),
        category_ids=np.asarray(class_ids(kept, known), dtype=np.int64),
        image_files=np.asarray(files, dtype=np.str_),
        image_ids=image_ids,
        sizes=np.asarray([_size(p) for p in image_records], dtype=np.int32).reshape(-1, 2),
        offsets=np.searchsorted(owner[order], np.arange(len(image_records) + 1)).astype(np.int64),
        boxes=boxes,
        box_format="coco",
        labels=np.asarray(labels, dtype=np.int32)[order],
        difficult=np.asarray([bool(o.get("difficult", 0)) for o in objects], dtype=np.bool_)[order],
        crowd=np.asarray([bool(o.get("iscrowd", 0)) for o in objects], dtype=np.bool_)[order],
        areas=_areas(objects, annotations)[order],
        ids=_object_ids(objects, annotations)[order],
        root=str(images),
        sources=np.full(len(image_records), str(annotations)),
    )


def read_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: the file is missing or is not JSON; the line and column are named.
    """
    try:
        return orjson.loads(file.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{file}: the file does not exist") from None
    except orjson.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}:{error.colno}: not valid JSON ({error.msg})") from None


def column(records: Sequence[Record], key: str, section: str, file: Path) -> list[Any]:
    """Return one key's value of every record.

    Raises:
        UserError: names the first record that lacks the key.
    """
    try:
        return [record[key] for record in records]
    except (KeyError, TypeError):
        bad = next(i for i, r in enumerate(records) if not isinstance(r, dict) or key not in r)
        raise UserError(f"{file}: {section}[{bad}] has no {key!r}") from None


def box_column(records: Sequence[Record], section: str, file: Path) -> NDArray[np.float64]:
    """Return the (N, 4) x y width height of every record.

    Raises:
        UserError: names the first record whose `bbox` is not 4 numbers.
    """
    values = column(records, "bbox", section, file)
    if not values:
        return np.zeros((0, 4))
    try:
        boxes = np.asarray(values, dtype=np.float64)
        if boxes.shape == (len(values), 4) and not np.isnan(boxes).any():
            return boxes
    except (ValueError, TypeError):
        pass
    bad = next(i for i, value in enumerate(values) if not is_box(value))
    raise UserError(
        f"{file}: {section}[{bad}] (id {records[bad].get('id', 'none')}): bbox must be 4 numbers "
        f"[x, y, width, height]; found {values[bad]!r}"
    )


def is_box(value: object) -> bool:
    """Return whether a value of a JSON file is a list of 4 numbers."""
    return isinstance(value, list) and len(value) == 4 and all(isinstance(v, (int, float)) for v in value)


def _records(content: Record, section: str, file: Path) -> list[Record]:
    records = content.get(section)
    if not isinstance(records, list):
        raise UserError(f"{file}: {section!r} must be a list; found {type(records).__name__}")
    return records


def _integers(values: list[Any], key: str, section: str, file: Path) -> NDArray[np.int64]:
    for position, value in enumerate(values):
        if not isinstance(value, int):
            raise UserError(f"{file}: {section}[{position}]: {key} must be a whole number; found {value!r}")
    return np.asarray(values, dtype=np.int64)


def _unique_ids(records: list[Record], section: str, file: Path) -> NDArray[np.int64]:
    ids = _integers(column(records, "id", section, file), "id", section, file)
    repeated = [value for value, count in Counter(ids.tolist()).items() if count > 1]
    if repeated:
        raise UserError(f"{file}: {section}: id {repeated[0]} is used more than once; ids must differ")
    return ids


def _positions(objects: list[Record], key: str, ids: NDArray[np.int64], file: Path) -> NDArray[np.int64]:
    """Return where each object's image or category stands in the file's list of them."""
    table = {value: position for position, value in enumerate(ids.tolist())}
    values = column(objects, key, "annotations", file)
    try:
        return np.asarray([table[value] for value in values], dtype=np.int64)
    except (KeyError, TypeError):
        bad = next(i for i, v in enumerate(values) if not isinstance(v, int) or v not in table)
        known = ", ".join(map(str, sorted(table)[:10])) + (", ..." if len(table) > 10 else "")
        place = _place(objects, bad, file)
        raise UserError(f"{place}: {key} {values[bad]!r} is not in the file, which has {known}") from None


def _place(objects: list[Record], position: int, file: Path) -> str:
    return f"{file}: annotations[{position}] (id {objects[position].get('id', 'none')})"


def _size(record: Record) -> tuple[int, int]:
    height, width = record.get("height") or 0, record.get("width") or 0
    return (int(height), int(width)) if height > 0 and width > 0 else (0, 0)


def _areas(objects: list[Record], file: Path) -> NDArray[np.float64]:
    values = [o["area"] if o.get("area") is not None else o["bbox"][2] * o["bbox"][3] for o in objects]
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        bad = next(i for i, value in enumerate(values) if not isinstance(value, (int, float)))
        raise UserError(
            f"{_place(objects, bad, file)}: area must be a number; found {values[bad]!r}"
        ) from None


def _object_ids(objects: list[Record], file: Path) -> NDArray[np.int64]:
    given = [o["id"] for o in objects if o.get("id") is not None]
    free = iter(range(int(_integers(given, "id", "annotations", file).max(initial=0)) + 1, 2**62))
    values = [o["id"] if o.get("id") is not None else next(free) for o in objects]
    return np.asarray(values, dtype=np.int64)
