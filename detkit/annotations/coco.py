"""Reader of COCO instance annotations."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.class_names import LARGEST_ID, class_ids, free_ids, label_names, listed, name_fault
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.keypoints import KeypointLayout, Keypoints
from detkit.annotations.validity import FARTHEST_PX, require_boxes, stated_size
from detkit.errors import UserError, shown
from detkit.storage.json_text import json_bytes
from detkit.storage.regular_files import read_bytes

Record = dict[str, Any]
LONGEST_PATH = 4096
"""Letters of the name of a file: as many as a path may have on Linux."""
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
    images: str | Path,
    annotations: str | Path,
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = (),
) -> AnnotationSet:
    """Read a COCO JSON file; image files are named, not opened (see `require_images`).

    Category ids may have gaps, images may be empty, annotation ids, areas and sizes may be missing (then ids
    follow the largest, and the area is width times height). A class without a category in the file
    gets an id that no category has. `write_coco` adds a `difficult` key of its own, which is read back.

    Args:
        images: folder that the file names start from.
        annotations: the JSON file.
        classes: class names in label order; None takes the categories in order of their ids.
        ignore_classes: names whose objects are left out; their images are kept.

    Raises:
        UserError: the file is not JSON (line and column are named), a key is missing, an id is repeated
            (pycocotools takes the last annotation of an id for all of them), or an annotation has an unknown
            image or category or a box that is not 4 numbers; see also `require_boxes`.
    """
    images, annotations = Path(images), Path(annotations)
    content = read_json(annotations)
    if not isinstance(content, dict):
        raise UserError(f"{annotations}: a COCO file is an object with images, annotations and categories")
    image_records, objects, categories = (_records(content, key, annotations) for key in _SECTIONS)
    image_ids = _unique_ids(image_records, "images", annotations)
    category_ids = _unique_ids(categories, "categories", annotations)
    files = _texts(image_records, "file_name", "images", annotations)
    category_names = _texts(categories, "name", "categories", annotations)
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
    truth = AnnotationSet(
        classes=tuple(kept),
        category_ids=np.asarray(class_ids(kept, known), dtype=np.int64),
        image_files=np.asarray(files, dtype=np.str_),
        image_ids=image_ids,
        sizes=np.asarray(
            [stated_size(p.get("height"), p.get("width")) for p in image_records], dtype=np.int32
        ).reshape(-1, 2),
        offsets=np.searchsorted(owner[order], np.arange(len(image_records) + 1)).astype(np.int64),
        boxes=boxes,
        box_format="coco",
        labels=np.asarray(labels, dtype=np.int32)[order],
        difficult=_flags(objects, "difficult", annotations)[order],
        crowd=_flags(objects, "iscrowd", annotations)[order],
        areas=_areas(objects, annotations)[order],
        ids=_object_ids(objects, annotations)[order],
        root=str(images),
        sources=np.full(len(image_records), str(annotations)),
    )
    return require_boxes(_with_keypoints(truth, objects, category, categories, order, annotations))


def read_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: the file is missing, cannot be read or is not JSON; the line and column are named.
    """
    try:
        return orjson.loads(read_bytes(file))
    except orjson.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}:{error.colno}: not valid JSON ({error.msg})") from None


def json_text(content: Any, source: Path) -> bytes:
    """Return a file's content, changed or not, as JSON again.

    Raises:
        UserError: it is nested more deeply than can be written.
    """
    try:
        return json_bytes(content)
    except (TypeError, RecursionError) as error:
        raise UserError(f"{source}: cannot be written again ({error})") from None


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
    boxes = box_array(values)
    if boxes is not None:
        return boxes
    bad = next(i for i, value in enumerate(values) if box_array([value]) is None)
    raise UserError(
        f"{_place(records, bad, file, section)}: bbox must be 4 numbers [x, y, width, height] "
        f"of at most {FARTHEST_PX:g}; found {shown(values[bad])}"
    )


def box_array(values: list[Any]) -> NDArray[np.float64] | None:
    """Return the (N, 4) boxes that N values of a JSON file are, None where one is not 4 numbers of pixels."""
    boxes = number_array(values) if values else np.zeros((0, 4))
    if boxes is None or boxes.shape != (len(values), 4):
        return None
    return boxes if (np.abs(boxes) <= FARTHEST_PX).all() else None


def is_id(value: object) -> TypeGuard[int]:
    """Return whether a value of a JSON file is a whole number of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -LARGEST_ID - 1 <= value <= LARGEST_ID


def number_array(values: list[Any]) -> NDArray[np.float64] | None:
    """Return values of a JSON file as an array, None where one is no number (NumPy reads text and null)."""
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):  # lists of several lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


def _texts(records: list[Record], key: str, section: str, file: Path) -> list[str]:
    """Return one key's text of every record, a number as it is written."""
    values = column(records, key, section, file)
    for place, value in enumerate(values):
        if fault := text_fault(key, value):
            raise UserError(f"{file}: {section}[{place}]: {fault}")
    return [str(value) for value in values]


def text_fault(key: str, value: object) -> str:
    """Return why a value of a JSON file cannot be the name of a file or class, empty where it can."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return f"{key} must be text; found {shown(value)}"
    if key == "file_name":
        return "" if 0 < len(str(value)) <= LONGEST_PATH else f"{key} must have 1 to {LONGEST_PATH} letters"
    fault = name_fault(str(value))
    return fault and f"{key} {shown(value)} {fault}"


def object_fault(record: Record) -> str:
    """Return what is wrong with the values that an annotation may have or lack, empty for nothing."""
    for key, (is_allowed, allowed) in _OPTIONAL.items():
        value = record.get(key)
        if value is not None and not is_allowed(value):
            return f"{key} must be {allowed}; found {shown(value)}"
    return ""


def _refuse_values(objects: list[Record], file: Path) -> NoReturn:
    bad, fault = next((i, fault) for i, record in enumerate(objects) if (fault := object_fault(record)))
    raise UserError(f"{_place(objects, bad, file)}: {fault}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


_WHOLE = "a whole number of 64 bits"
_OPTIONAL: dict[str, tuple[Callable[[object], bool], str]] = {
    "id": (is_id, _WHOLE),
    "area": (_is_number, "a number"),
    "iscrowd": (lambda value: _is_number(value) and value in (0, 1), "0 or 1"),
    "difficult": (lambda value: _is_number(value) and value in (0, 1), "0 or 1"),
}


def _flags(objects: list[Record], key: str, file: Path) -> NDArray[np.bool_]:
    """Return whether each object has a flag, which may be missing."""
    values = [record.get(key) for record in objects]
    with suppress(TypeError):  # of a list or dict among them
        if {0, 1, None}.issuperset(values):
            return np.asarray(values, dtype=np.bool_)
    _refuse_values(objects, file)


def _records(content: Record, section: str, file: Path) -> list[Record]:
    records = content.get(section)
    if not isinstance(records, list):
        raise UserError(f"{file}: {section!r} must be a list; found {type(records).__name__}")
    return records


def _integers(values: list[Any], key: str, section: str, file: Path) -> NDArray[np.int64]:
    ids = _id_array(values)
    if ids is not None:
        return ids
    bad = next(i for i, value in enumerate(values) if not is_id(value))
    raise UserError(f"{file}: {section}[{bad}]: {key} must be {_WHOLE}; found {shown(values[bad])}")


def _id_array(values: list[Any]) -> NDArray[np.int64] | None:
    """Return ids as an array, None where one is none."""
    with suppress(OverflowError):
        if {int}.issuperset(map(type, values)):
            return np.asarray(values, dtype=np.int64)
    return None


def _unique_ids(records: list[Record], section: str, file: Path) -> NDArray[np.int64]:
    return _unique(_integers(column(records, "id", section, file), "id", section, file), section, file)


def _unique(ids: NDArray[np.int64], section: str, file: Path) -> NDArray[np.int64]:
    if len(set(ids.tolist())) < len(ids):
        repeated, _ = Counter(ids.tolist()).most_common(1)[0]
        raise UserError(f"{file}: {section}: id {repeated} is used more than once; ids must differ")
    return ids


def _positions(objects: list[Record], key: str, ids: NDArray[np.int64], file: Path) -> NDArray[np.int64]:
    """Return where each object's image or category stands in the file's list of them."""
    table = {value: position for position, value in enumerate(ids.tolist())}
    values = column(objects, key, "annotations", file)
    try:
        return np.asarray([table[value] for value in values], dtype=np.int64)
    except (KeyError, TypeError):
        bad = next(i for i, v in enumerate(values) if not isinstance(v, int | float) or v not in table)
        place, known = _place(objects, bad, file), listed(sorted(table), 10)
        raise UserError(
            f"{place}: {key} {shown(values[bad])} is not in the file, which has {known}"
        ) from None


def _place(objects: Sequence[Record], position: int, file: Path, section: str = "annotations") -> str:
    number = objects[position].get("id")
    return f"{file}: {section}[{position}] (id {'none' if number is None else shown(number)})"


def _with_keypoints(
    truth: AnnotationSet,
    objects: list[Record],
    category: NDArray[np.int64],
    categories: list[Record],
    order: NDArray[np.int64],
    file: Path,
) -> AnnotationSet:
    """Return the set with the key points of its objects, where the categories name some."""
    layout = _layout(categories, file)
    if layout is None:
        return truth
    points = _keypoints(objects, category, categories, layout, file)
    return replace(truth, keypoints=points[order], layout=layout)


def _layout(categories: list[Record], file: Path) -> KeypointLayout | None:
    """Return the key points that the categories name, each name once; None where they name none."""
    if not any("keypoints" in record for record in categories):
        return None
    names: dict[str, int] = {}
    skeleton: dict[tuple[int, int], None] = {}
    for place, record in enumerate(categories):
        own, lines = record.get("keypoints", []), record.get("skeleton") or []
        if not (
            isinstance(own, list) and all(isinstance(name, str) for name in own) and len(set(own)) == len(own)
        ):
            raise UserError(
                f"{file}: categories[{place}]: keypoints must be names that differ; found {shown(own)}"
            )
        for name in own:
            names.setdefault(name, len(names))
        ends = range(1, len(own) + 1)
        for line in lines if isinstance(lines, list) else [lines]:
            if not (
                isinstance(line, list) and len(line) == 2 and all(is_id(end) and end in ends for end in line)
            ):
                raise UserError(
                    f"{file}: categories[{place}]: skeleton must be pairs of numbers from 1 to {len(own)}; "
                    f"found {shown(line)}"
                )
            skeleton.setdefault((names[own[line[0] - 1]], names[own[line[1] - 1]]))
    return KeypointLayout(tuple(names), tuple(skeleton)) if names else None


def _keypoints(
    objects: list[Record],
    category: NDArray[np.int64],
    categories: list[Record],
    layout: KeypointLayout,
    file: Path,
) -> Keypoints:
    """Return the (M, P, 3) key points of all objects; those that an object does not have are 0."""
    found = np.zeros((len(objects), len(layout.names), 3))
    for place, record in enumerate(categories):
        own = record.get("keypoints", [])
        columns = [layout.names.index(name) for name in own]
        of_class = np.flatnonzero(category == place).tolist() if own else []
        rows = [row for row in of_class if "keypoints" in objects[row]]
        values = _point_array([objects[row]["keypoints"] for row in rows], len(own))
        if values is None:
            bad = next(row for row in rows if _point_array([objects[row]["keypoints"]], len(own)) is None)
            raise UserError(
                f"{_place(objects, bad, file)}: keypoints must be x, y and 0, 1 or 2 of each of {len(own)} "
                f"points; found {shown(objects[bad]['keypoints'])}"
            )
        found[np.ix_(rows, columns)] = values
    return found


def _point_array(values: list[Any], count: int) -> Keypoints | None:
    """Return the (N, count, 3) points that N values of a JSON file are, None where one is none."""
    points = number_array(values) if values else np.zeros((0, 3 * count))
    if points is None or points.shape != (len(values), 3 * count):
        return None
    points = points.reshape(len(values), count, 3)
    is_known = np.isin(points[:, :, 2], (0, 1, 2)).all() and (np.abs(points) <= FARTHEST_PX).all()
    return points if is_known else None


def _areas(objects: list[Record], file: Path) -> NDArray[np.float64]:
    values = [o["area"] if o.get("area") is not None else o["bbox"][2] * o["bbox"][3] for o in objects]
    areas = number_array(values)
    if areas is not None and areas.shape == (len(values),):
        return areas
    _refuse_values(objects, file)


def _object_ids(objects: list[Record], file: Path) -> NDArray[np.int64]:
    given = [o["id"] for o in objects if o.get("id") is not None]
    ids = _id_array(given)
    if ids is None:
        _refuse_values(objects, file)
    _unique(ids, "annotations", file)
    if len(ids) == len(objects):
        return ids
    free = iter(free_ids(given, len(objects) - len(given)))
    values = [o["id"] if o.get("id") is not None else next(free) for o in objects]
    return np.asarray(values, dtype=np.int64)
