"""Corrected copy of a COCO dataset."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson

from detkit.annotations.coco import read_json
from detkit.annotations.coordinates import corners_to_xywh
from detkit.checks.fixes import Fixes, below
from detkit.storage.atomic import write_atomically


def copy_coco(fixes: Fixes, root: Path, folder: Path) -> None:
    """Write the JSON files; the images themselves are copied by the caller.

    Args:
        fixes: what is different.
        root: of the source.
        folder: of the copy.
    """
    survey = fixes.checked.survey
    for number, group in enumerate(survey.groups):
        if group.format != "coco":
            continue
        content = read_json(group.place)
        images = [image for image, own in enumerate(survey.group) if own == number]
        ids = {image: content["images"][survey.rows[image]]["id"] for image in images}
        for image in images:
            if image in fixes.sizes:
                height, width = fixes.sizes[image]
                content["images"][survey.rows[image]] |= {"height": height, "width": width}
        kept = {survey.rows[image] for image in images if image not in fixes.dropped_images}
        owned = set(images)
        first = survey.first_rows[number]
        rows = range(first, first + len(content["annotations"]))
        for row in rows:
            if row not in fixes.dropped_objects:
                _edit(content["annotations"][survey.places[row]], fixes, row, ids, owned)
        content["images"] = _at(content["images"], kept)
        dropped = fixes.dropped_objects
        content["annotations"] = _at(
            content["annotations"], {survey.places[row] for row in rows if row not in dropped}
        )
        write_atomically(folder / below(group.place, root), orjson.dumps(content))


def _edit(
    record: dict[str, Any], fixes: Fixes, row: int, ids: dict[int, Any], owned: Collection[int]
) -> None:
    if row in fixes.ids:
        record["id"] = fixes.ids[row]
    if fixes.owners.get(row) in owned:
        record["image_id"] = ids[fixes.owners[row]]
    if row in fixes.corners:
        box = corners_to_xywh(fixes.corners[row][None])[0].tolist()
        record["bbox"] = [round(value, 4) for value in box]
        whole = record["bbox"][2] * record["bbox"][3]
        record["area"] = min(record.get("area") or whole, whole) if record.get("segmentation") else whole


def _at(records: list[Any], places: Collection[int]) -> list[Any]:
    return [record for place, record in enumerate(records) if place in places]
