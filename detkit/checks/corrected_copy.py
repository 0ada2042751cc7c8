"""Corrected copy of a dataset in its own format, of an export as COCO; the source is only read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from detkit.annotations.coco import json_text, read_json
from detkit.annotations.coordinates import corners_to_voc, corners_to_xywh, fractions_of, pixels
from detkit.annotations.exports.read import EXPORTS
from detkit.annotations.image_files import read_image
from detkit.annotations.text_files import read_text, write_lines
from detkit.annotations.voc_xml import voc_tree
from detkit.annotations.writers import yolo_numbers
from detkit.annotations.yolo_layout import yolo_layout
from detkit.checks.decoding import digest_of
from detkit.checks.fixes import Fixes
from detkit.checks.read_coco import is_category
from detkit.checks.survey import AnnotationGroup, Survey
from detkit.errors import UserError
from detkit.names import file_name
from detkit.storage.atomic import write_atomically
from detkit.storage.json_text import json_bytes
from detkit.storage.regular_files import read_bytes

CHANGES = "changes.json"

_Record = dict[str, Any]
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_copy(fixes: Fixes, folder: Path) -> dict[tuple[str, Path], Path]:
    """Write annotations, lists and images of a corrected copy, and `changes.json`.

    Args:
        fixes: what is different.
        folder: where the copy goes.

    Returns:
        For each format and root of the source, the root of its copy.
    """
    survey = fixes.checked.survey
    roots = _roots(survey)
    unique = list(dict.fromkeys(roots))
    places = {
        key: folder if len(unique) == 1 else folder / str(number)
        for number, key in enumerate(unique, start=1)
    }
    for (name, root), place in places.items():
        _COPIES[name](fixes, root, place)
    for target, file in _copied(fixes, roots, places).items():
        _copy_image(file, target, fixes.checked.decoded[file].digest)
    left = [finding.to_json() for finding in fixes.left]
    content = {"changes": fixes.to_json(), "left": left}
    write_atomically(folder / CHANGES, json_bytes(content, indented=True))
    return places


def _copied(
    fixes: Fixes, roots: list[tuple[str, Path]], places: dict[tuple[str, Path], Path]
) -> dict[Path, Path]:
    """Return the file that each image of the copy is one of."""
    survey = fixes.checked.survey
    copied: dict[Path, Path] = {}
    for image, file in enumerate(survey.files):
        if image not in fixes.dropped_images and not fixes.checked.decoded[file].fault:
            key = roots[survey.group[image]]
            copied.setdefault(places[key] / below(file, key[1]), file)
    return copied


def _copy_image(file: Path, target: Path, digest: bytes) -> None:
    data = read_image(file)
    if digest_of(data) != digest:
        raise UserError(f"{file}: changed while the dataset was checked; start again")
    write_atomically(target, data, sync=False)


def _roots(survey: Survey) -> list[tuple[str, Path]]:
    """Return the format and root of each group; the root of COCO files is what they and images share."""
    coco = [path for o in survey.groups if o.format == "coco" for path in (o.place.parent, o.root)]
    common = Path(os.path.commonpath([path.absolute() for path in coco])) if coco else Path()
    return [(group.format, common if group.format == "coco" else group.root) for group in survey.groups]


def below(path: Path, root: Path) -> Path:
    """Return a path relative to a root; the folders of one that lies elsewhere are kept from `images` on."""
    path, root = (Path(os.path.normpath(one.absolute())) for one in (path, root))
    if path.is_relative_to(root):
        return path.relative_to(root)
    parts = path.parts
    for name in ("images", "labels"):
        if name in parts:
            return Path(*parts[parts.index(name) :])
    return Path(path.name)


def _copy_files(
    fixes: Fixes, root: Path, folder: Path, name: str, edited: Callable[[Fixes, int, list[int]], str]
) -> None:
    """Write the annotation file of each image that stays.

    Args:
        fixes: what is different.
        root: of the source.
        folder: of the copy.
        name: the format.
        edited: returns the content of an image's file, given the rows of its objects; others are copied.
    """
    survey = fixes.checked.survey
    rows: dict[int, list[int]] = defaultdict(list)
    for row, owner in enumerate(survey.owners):
        rows[owner].append(row)
    for image, source in enumerate(survey.sources):
        group = survey.groups[survey.group[image]]
        if group.format != name or group.root != root or image in fixes.dropped_images:
            continue
        target = folder / below(source, root)
        if image in fixes.sizes or any(r in fixes.corners or r in fixes.dropped_objects for r in rows[image]):
            write_atomically(target, edited(fixes, image, rows[image]), sync=False)
        elif source.is_file():
            write_atomically(target, read_bytes(source), sync=False)


def _copy_voc(fixes: Fixes, root: Path, folder: Path) -> None:
    _copy_files(fixes, root, folder, "voc", _edited_xml)
    # ImageSets/Main/<part>.txt goes beside the annotations of each part's images.
    survey = fixes.checked.survey
    for part, images in fixes.parts.items():
        stems: dict[Path, list[str]] = defaultdict(list)
        for image in images:
            group = survey.groups[survey.group[image]]
            if group.format == "voc" and group.root == root and group.place != root / part:
                stems[list_folder(group.place)].append(survey.sources[image].stem)
        for base, names in stems.items():
            file = folder / base.relative_to(root) / f"{without_year(part, base)}.txt"
            write_lines(file, names)


def _edited_xml(fixes: Fixes, image: int, rows: list[int]) -> str:
    survey = fixes.checked.survey
    tree = voc_tree(survey.sources[image])
    if image in fixes.sizes:
        size = tree.find("size")
        if size is None:
            size = ElementTree.SubElement(tree, "size")
        for key, value in zip(("height", "width"), fixes.sizes[image], strict=True):
            _set(size, key, str(value))
    nodes = tree.findall("object")
    for row in rows:
        node = nodes[survey.places[row]]
        if row in fixes.dropped_objects:
            tree.remove(node)
        elif row in fixes.corners:
            box = node.find("bndbox")
            assert box is not None
            values = corners_to_voc(fixes.corners[row][None])[0]
            for key, value in zip(_CORNERS, pixels(values).tolist(), strict=True):
                _set(box, key, str(int(value) if value.is_integer() else value))
    return ElementTree.tostring(tree, encoding="unicode") + "\n"


def _set(parent: ElementTree.Element, key: str, text: str) -> None:
    child = parent.find(key)
    if child is None:
        child = ElementTree.SubElement(parent, key)
    child.text = text


def list_folder(annotations: Path) -> Path:
    """Return the folder of the lists that belong to a folder of annotations."""
    base = annotations.parent if annotations.name.lower() == "annotations" else annotations
    return base / "ImageSets" / "Main"


def without_year(part: str, lists: Path) -> str:
    """Return the name of a part's list: `train` for 2007_train in the folder VOC2007."""
    return part.removeprefix(f"{lists.parent.parent.name.removeprefix('VOC')}_")


def _copy_coco(fixes: Fixes, root: Path, folder: Path) -> None:
    survey = fixes.checked.survey
    for number, group in enumerate(survey.groups):
        if group.format != "coco":
            continue
        content = read_json(group.place)
        entries = {
            image: content["images"][survey.rows[image]]
            for image, own in enumerate(survey.group)
            if own == number
        }
        for image, entry in entries.items():
            if image in fixes.sizes:
                entry["height"], entry["width"] = fixes.sizes[image]
        content["annotations"] = [
            _edited_record(record, fixes, row, entries)
            for row, record in enumerate(content["annotations"], survey.first_rows[number])
            if row not in fixes.dropped_objects
        ]
        content["categories"] = [entry for entry in content["categories"] if is_category(entry)]
        content["images"] = [entry for image, entry in entries.items() if image not in fixes.dropped_images]
        write_atomically(folder / below(group.place, root), json_text(content, group.place))


def _edited_record(record: _Record, fixes: Fixes, row: int, entries: dict[int, _Record]) -> _Record:
    """Return the record of an object, given the entries of the images of its file."""
    if row in fixes.ids:
        record["id"] = fixes.ids[row]
    if fixes.owners.get(row) in entries:
        record["image_id"] = entries[fixes.owners[row]]["id"]
    if row in fixes.corners:
        record["bbox"] = pixels(corners_to_xywh(fixes.corners[row][None]))[0].tolist()
        whole = record["bbox"][2] * record["bbox"][3]
        area = record.get("area")
        known = isinstance(area, int | float) and area > 0 and record.get("segmentation")
        record["area"] = min(area, whole) if known else whole
    return record


def _copy_yolo(fixes: Fixes, root: Path, folder: Path) -> None:
    _copy_files(fixes, root, folder, "yolo", _edited_lines)
    for group in fixes.checked.survey.groups:
        if group.format == "yolo" and group.root == root:
            _write_names(fixes, group, folder)


def _edited_lines(fixes: Fixes, image: int, rows: list[int]) -> str:
    survey = fixes.checked.survey
    lines: list[str | None] = list(read_text(survey.sources[image]).splitlines())
    for row in rows:
        place = survey.places[row]
        if row in fixes.dropped_objects:
            lines[place] = None
        elif row in fixes.corners:
            box = fractions_of(fixes.corners[row][None], fixes.checked.seen[image][None])[0]
            lines[place] = f"{str(lines[place]).split()[0]} {yolo_numbers(box)}"
    return "".join(f"{line}\n" for line in lines if line is not None)


def _write_names(fixes: Fixes, group: AnnotationGroup, folder: Path) -> None:
    """Write the names of the classes and the parts: a folder stays one, anything else becomes a list."""
    survey, root = fixes.checked.survey, group.root
    has_yaml = group.place.suffix.lower() in (".yaml", ".yml")
    layout = yolo_layout(group.place if has_yaml else root)
    content: dict[str, Any] = {"path": ".", "names": dict(layout.names)}
    for part, images in fixes.parts.items():
        own = [image for image in images if survey.groups[survey.group[image]] is group]
        if not own:
            continue
        places = layout.splits.get(part, [])
        read = {survey.files[image] for image in survey.parts[part]}
        if places and all(place.is_dir() for place in places) and read == set(layout.images(part)):
            names = [str(below(place, root)) for place in places]
            content[part] = names[0] if len(names) == 1 else names
        else:
            write_lines(folder / f"{part}.txt", [f"./{below(survey.files[image], root)}" for image in own])
            content[part] = f"{part}.txt"
    if not has_yaml:
        write_atomically(folder / below(group.place, root), read_bytes(group.place))
    if has_yaml or any(str(value).endswith(".txt") for value in content.values()):
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        write_atomically(folder / "data.yaml", text)


def _copy_export(fixes: Fixes, root: Path, folder: Path) -> None:
    """Write the parts of an export as COCO: files of the tools hold much else, and differ by version."""
    checked, survey = fixes.checked, fixes.checked.survey
    rows: dict[int, list[int]] = defaultdict(list)
    for row, owner in enumerate(survey.owners):
        if row not in fixes.dropped_objects:
            rows[fixes.owners.get(row, owner)].append(row)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(survey.names)]
    for part, images in fixes.parts.items():
        own = [
            i for i in images if survey.groups[survey.group[i]].root == root and i not in fixes.dropped_images
        ]
        entries = [
            {"id": i + 1, "file_name": str(below(survey.files[i], root)), "height": int(h), "width": int(w)}
            for i in own
            for h, w in checked.seen[i : i + 1]
        ]
        objects = [_export_record(fixes, row, image) for image in own for row in rows[image]]
        content = {"images": entries, "annotations": objects, "categories": categories}
        write_atomically(export_copy(folder, part), json_bytes(content))


def _export_record(fixes: Fixes, row: int, image: int) -> _Record:
    survey = fixes.checked.survey
    corners = fixes.corners.get(row, fixes.checked.objects.corners[row])
    x, y, width, height = pixels(corners_to_xywh(corners[None]))[0].tolist()
    return {
        "id": row + 1,
        "image_id": image + 1,
        "category_id": survey.labels[row] + 1,
        "bbox": [x, y, width, height],
        "area": width * height,
        "iscrowd": int(survey.crowd[row]),
    }


def export_copy(folder: Path, part: str) -> Path:
    """Return the COCO file that a part of an export becomes."""
    return folder / "annotations" / f"instances_{file_name(part)}.json"


_COPIES: dict[str, Callable[[Fixes, Path, Path], None]] = {
    "voc": _copy_voc,
    "coco": _copy_coco,
    "yolo": _copy_yolo,
    **dict.fromkeys(EXPORTS, _copy_export),
}
"""Writers of annotations and lists, given the roots of source and copy; images are copied for all alike."""
