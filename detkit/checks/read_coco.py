"""Survey of COCO files: what is wrong is noted, and reading continues."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.annotations.class_names import listed
from detkit.annotations.coco import box_array, is_id, object_fault, paused_collection, read_json, text_fault
from detkit.annotations.image_files import IMAGE_EXTENSIONS
from detkit.annotations.validity import stated_size
from detkit.checks.survey import NOWHERE, UNKNOWN, AnnotationGroup, Survey, without_file
from detkit.data.datasets.config import COCODatasetConfig
from detkit.errors import UserError, shown

Record = dict[str, Any]
SECTIONS = ("images", "annotations", "categories")


@paused_collection()
def survey_coco(survey: Survey, _: Path, sets: Mapping[str, COCODatasetConfig], everything: bool) -> None:
    """Add COCO JSON files to a survey.

    Args:
        survey: takes them.
        sets: image folder and JSON file of each part.
        everything: also look for images that no file lists.
    """
    for part, config in sets.items():
        _Reading(survey, part, Path(config.images), Path(config.annotations)).read()
    if everything:
        _unlisted_images(survey)


def is_category(record: object) -> bool:
    """Return whether an entry of the categories has an id and a name."""
    return isinstance(record, dict) and is_id(record.get("id")) and not text_fault("name", record.get("name"))


def lacking(content: Any) -> str:
    """Return which lists the content of a COCO file lacks; empty for none."""
    sections = content if isinstance(content, dict) else {}
    missing = [key for key in SECTIONS if not isinstance(sections.get(key), list)]
    return f"has no list of {' nor of '.join(missing)}" if missing else ""


def _unlisted_images(survey: Survey) -> None:
    """Note the images in the folders of the images of COCO files that no file lists."""
    listed = set(survey.files)
    for folder in sorted({group.root for group in survey.groups if group.format == "coco"}):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() in IMAGE_EXTENSIONS and path not in listed:
                survey.report("unlabelled_image", path, None, "no annotation file lists it; it is not read")


class _Reading:
    """One file in the reading."""

    def __init__(self, survey: Survey, part: str, folder: Path, file: Path) -> None:
        self.survey, self.part, self.folder, self.file = survey, part, folder, file
        self.group, self.first = len(survey.groups), len(survey.owners)

    def read(self) -> None:
        """Read the three sections, or note why the file cannot be read."""
        self.survey.parts.setdefault(self.part, [])
        try:
            content = read_json(self.file)
        except UserError as error:
            self.survey.report("malformed_file", self.file, None, without_file(error, self.file))
            return
        if message := lacking(content):
            self.survey.report("malformed_file", self.file, None, message)
            return
        images, objects, categories = (self._records(content[key], key) for key in SECTIONS)
        names = self._categories(categories)
        declared = tuple(names[key] for key in sorted(names))
        self.survey.groups.append(AnnotationGroup("coco", self.folder, self.file, declared))
        positions = self._images(images)
        self._objects(objects, positions, names)

    def _records(self, values: list[Any], section: str) -> list[Record]:
        """Return the entries of a section; one that is no object is noted and stands as an empty one."""
        for place, value in enumerate(values):
            if not isinstance(value, dict):
                message = f"must be an object with keys; found {shown(value)}"
                self.survey.report("malformed_object", self.file, f"{section}[{place}]", message)
        return [value if isinstance(value, dict) else {} for value in values]

    def _categories(self, records: list[Record]) -> dict[int, str]:
        names: dict[int, str] = {}
        for place, record in enumerate(records):
            number, name = record.get("id"), record.get("name")
            if not is_id(number) or not is_category(record):
                message = f"needs a whole number as id and a name; found {shown(record)}"
                self.survey.report("malformed_object", self.file, f"categories[{place}]", message)
            elif number in names:
                message = f"{shown(names[number])} and {shown(str(name))} have the same id {number}"
                self.survey.report("duplicate_category", self.file, f"category {number}", message)
            else:
                names[number] = str(name)
        for name, count in Counter(names.values()).items():
            if count > 1:
                ids = ", ".join(str(key) for key, value in names.items() if value == name)
                message = f"{shown(name)} is the name of the categories {ids}; they become one class"
                self.survey.report("duplicate_category", self.file, name, message)
        for name in names.values():
            self.survey.label(name)
        return names

    def _images(self, records: list[Record]) -> dict[int, int]:
        survey, positions = self.survey, dict[int, int]()
        files: dict[str, int] = {}
        for place, record in enumerate(records):
            number, name = record.get("id"), record.get("file_name")
            if not is_id(number) or text_fault("file_name", name):
                message = f"needs a whole number as id and a file_name; found {shown(record)}"
                survey.report("malformed_object", self.file, f"images[{place}]", message)
                continue
            name, size = str(name), stated_size(record.get("height"), record.get("width"))
            path = Path(os.path.normpath(self.folder / name))
            image = survey.add_image(path, self.file, self.group, size, place)
            survey.parts[self.part].append(image)
            if name in files:
                message = f"images[{files[name]}] and images[{place}] are the same file"
                survey.report("duplicate_file_name", self.file, name, message, images=[image])
            if number in positions:
                message = f"{survey.files[positions[number]].name} and {name} have the same id"
                survey.report("duplicate_image_id", self.file, f"image {number}", message)
            files.setdefault(name, place)
            positions.setdefault(number, image)
        return positions

    def _objects(self, records: list[Record], positions: dict[int, int], names: dict[int, str]) -> None:
        survey = self.survey
        survey.first_rows[self.group] = self.first
        boxes, whole = _boxes(records)
        labels = {number: survey.label(name) for number, name in names.items()}
        images, categories = _numbers(records, "image_id"), _numbers(records, "category_id")
        ids = _numbers(records, "id")
        survey.owners.extend(positions.get(number, UNKNOWN) for number in images)
        survey.labels.extend(labels.get(number, UNKNOWN) for number in categories)
        survey.boxes.extend(boxes)
        survey.numbers.extend(ids)
        survey.places.extend(range(len(records)))
        survey.crowd.extend(bool(record.get("iscrowd")) for record in records)
        survey.whole.extend(whole)
        for place, record in enumerate(records):
            if fault := object_fault(record):
                survey.whole[self.first + place] = False
                self._object("malformed_object", place, fault)
            elif not whole[place] and record:
                message = f"bbox must be 4 numbers [x, y, width, height]; found {shown(record.get('bbox'))}"
                self._object("malformed_object", place, message)
        self._unknown(records, "unknown_image_id", "image_id", survey.owners, positions)
        self._unknown(records, "unknown_category", "category_id", survey.labels, names)
        self._repeated(ids)

    def _unknown(
        self, records: list[Record], kind: str, key: str, found: list[int], known: dict[int, Any]
    ) -> None:
        wrong = [place for place in range(len(records)) if found[self.first + place] == UNKNOWN]
        if not wrong:
            return
        there = listed(sorted(known), 10)
        values = {value for place in wrong if isinstance(value := records[place].get(key), int)}
        used = set(_numbers(records, key))
        hint = ""
        if values == {min(known, default=0) - 1} and max(known, default=0) not in used:
            hint = "; they seem to be counted from one less"
        if values == {max(known, default=0) + 1} and min(known, default=0) not in used:
            hint = "; they seem to be counted from one more"
        for place in wrong:
            message = f"{key} {shown(records[place].get(key))} is not in the file, which has {there}{hint}"
            self._object(kind, place, message)

    def _repeated(self, ids: list[int]) -> None:
        if len(set(ids)) == len(ids):
            return
        seen: dict[int, int] = {}
        for place, number in enumerate(ids):
            if number != UNKNOWN and seen.setdefault(number, place) != place:
                message = f"annotations[{seen[number]}] and annotations[{place}] have the same id"
                self._object("duplicate_annotation_id", place, message)

    def _object(self, kind: str, place: int, message: str) -> None:
        row = self.first + place
        self.survey.report(kind, self.file, self.survey.object_name(row), message, objects=[row])


def _numbers(records: list[Record], key: str) -> list[int]:
    values = [record.get(key, UNKNOWN) for record in records]
    return [int(value) if is_id(value) else UNKNOWN for value in values]


def _boxes(records: list[Record]) -> tuple[list[Any], list[bool]]:
    """Return the box of each annotation, NaN where there is none, and whether there is one."""
    values = [record.get("bbox") for record in records]
    if box_array(values) is not None:
        return values, [True] * len(values)
    whole = [isinstance(v, list) and len(v) == 4 and all(map(_may_be_coordinate, v)) for v in values]
    return [value if ok else NOWHERE for value, ok in zip(values, whole, strict=True)], whole


def _may_be_coordinate(value: object) -> bool:
    """Return whether a value is a number, too large perhaps, or null, which some write for NaN."""
    return value is None or isinstance(value, int | float)
