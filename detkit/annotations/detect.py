"""Format detection of a dataset folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from detkit.annotations.class_names import listed
from detkit.annotations.coco import read_json
from detkit.annotations.exports.csv_table import WANTED, is_table
from detkit.annotations.exports.cvat import is_cvat
from detkit.annotations.exports.ilsvrc import ilsvrc_parts, images_of
from detkit.annotations.exports.label_studio import is_label_studio
from detkit.annotations.exports.labelme import holds_labelme, is_labelme
from detkit.annotations.exports.read import EXPORTS
from detkit.annotations.exports.records import ExportedImage
from detkit.annotations.found_dataset import FoundDataset, FoundSet
from detkit.annotations.voc import (
    ANNOTATION_FOLDERS,
    IMAGE_FOLDERS,
    has_images,
    subfolders,
    voc_folders,
    voc_subfolders,
)
from detkit.annotations.yolo_layout import find_data_yaml, has_labels, names_file_of, yolo_layout
from detkit.errors import UserError, cut
from detkit.storage.regular_files import is_file, is_folder

_TRIED = 10  # images that are looked for: one or the other may be missing
_DEEPEST = 3  # folders that hold nothing but a folder, as an unpacked archive does
_UNDIVIDED = "all"
_PARTS = (*ANNOTATION_FOLDERS, *IMAGE_FOLDERS)


def require_there(path: Path) -> None:
    """Check that a folder or file is there.

    Raises:
        UserError: it is not.
    """
    if not is_file(path) and not is_folder(path):
        raise UserError(f"{cut(str(path), 300)}: the folder or file does not exist")


def locate_dataset(path: Path, broken: list[UserError] | None = None) -> FoundDataset:
    """Recognise a dataset as `detect_format` does, also by its folder of annotations or of images.

    Args:
        path: the folder or file that a user names.
        broken: see `detect_format`.

    Raises:
        UserError: see `detect_format`.
    """
    try:
        found = detect_format(path, broken)
    except UserError:
        whole = _outer_dataset(path)
        if whole is None:
            raise
        return whole
    if found.format in ("voc", "yolo") and not find_data_yaml(path) and not _holds_images(path):
        return _outer_dataset(path) or found
    return found


def _outer_dataset(path: Path) -> FoundDataset | None:
    """Return the dataset that a file of one image, or a folder of annotations or of images, is a part of."""
    if path.suffix.lower() not in (".xml", ".txt") and path.name.lower() not in _PARTS:
        return None
    with suppress(UserError):
        return locate_dataset(path.absolute().parent)
    return None


def detect_format(path: Path, broken: list[UserError] | None = None) -> FoundDataset:
    """Recognise a dataset by the files in its folder, or by its file of annotations.

    Args:
        path: the folder or file.
        broken: takes what is wrong with JSON files that cannot be read, and they are passed over; None
            refuses them.

    Raises:
        UserError: nothing matches; the message says what was looked for and what is there. Or several
            datasets lie in folders of their own; the message names them.
    """
    if is_file(path):
        return _detect_file(path)
    require_there(path)
    place = path
    for _ in range(_DEEPEST):
        found = _in_folder(place, broken)
        apart = [] if found is not None and _is_whole(found) else _apart(place)
        if len(apart) > 1:
            raise UserError(f"{path}: several datasets are in it; name one of them:", *map(_described, apart))
        if apart:
            return apart[0]
        if found is not None:
            return found
        inside = subfolders(place)
        nested = [p for p in inside if p.name in ("VOCdevkit", place.name)]
        if len(inside) != 1 and len(nested) != 1:
            break
        place = nested[0] if len(nested) == 1 else inside[0]
    raise UserError(
        f"{path}: {_contents(path)}; no dataset recognised. Looked for:", *_LOOKED_FOR.splitlines()
    )


def _in_folder(path: Path, broken: list[UserError] | None) -> FoundDataset | None:
    return next(_readings(path, broken), None)


def _readings(path: Path, broken: list[UserError] | None) -> Iterator[FoundDataset]:
    """Yield what a folder can be read as, the likeliest first."""
    if parts := ilsvrc_parts(path):
        yield FoundDataset("ilsvrc", path, tuple(FoundSet(p, images_of(at), at) for p, at in parts.items()))
    if folders := voc_folders(path):
        names = [name for folder in folders for name in folder.set_names()]
        yield FoundDataset("voc", path, tuple(map(FoundSet, names)))
    elif inner := voc_subfolders(path):
        yield FoundDataset("voc", path, tuple(map(FoundSet, inner)))
    if (of_jsons := _of_jsons(path, broken)) is not None:
        yield of_jsons
    if _is_yolo(path):
        yield _yolo(path)
    if (of_tables := _of_tables(path)) is not None:
        yield of_tables


def also_there(found: FoundDataset) -> list[str]:
    """Return what else the folder of a recognised dataset can be read as, each with how to choose it."""
    if not is_folder(found.root):
        return []
    with suppress(UserError):
        return [_described(other) for other in _readings(found.root, []) if other.format != found.format]
    return []


def _described(found: FoundDataset) -> str:
    files = {str(item.annotations) for item in found.sets if item.annotations is not None}
    data_yaml = find_data_yaml(found.root) if found.format == "yolo" else None
    place = data_yaml or (files.pop() if len(files) == 1 else found.root)
    parts = ", ".join(item.name for item in found.sets if item.name != _UNDIVIDED)
    return f"  {place} ({found.format}{': ' if parts else ''}{cut(parts)})"


def _is_whole(found: FoundDataset) -> bool:
    """Return whether the files of a dataset belong together, and are not just all below a folder."""
    if found.format == "yolo":
        return find_data_yaml(found.root) is not None or names_file_of(found.root) is not None
    return found.format not in ("coco", "csv", "cvat") or any(
        item.annotations is not None and item.annotations.parent in (found.root, found.root / "annotations")
        for item in found.sets
    )


def _apart(path: Path) -> list[FoundDataset]:
    """Return the datasets that lie in folders of their own, which are called neither a part nor a split."""
    found = []
    for folder in subfolders(path):
        if folder.name.lower() not in (*_PARTS, *SPLIT_NAMES):
            with suppress(UserError):
                if (own := _in_folder(folder, None)) is not None:
                    found.append(own)
    formats = {one.format for one in found}
    return [] if formats in ({"coco"}, {"csv"}, {"cvat"}) else found


def _is_yolo(path: Path) -> bool:
    return find_data_yaml(path) is not None or names_file_of(path) is not None or has_labels(path)


def _of_tables(path: Path) -> FoundDataset | None:
    for name, suffix, belongs in (("cvat", "xml", is_cvat), ("csv", "csv", is_table)):
        files = [file for file in _files(path, suffix) if belongs(file)]
        if files:
            return _export(name, path, files, path)
    return None


_LOOKED_FOR = f"""\
  VOC:          *.xml here, in Annotations/ (annots/, xmls/, ...) beside images/, or in train/ and val/
  COCO:         *.json with "images", "annotations" and "categories", here, in annotations/ or a folder
  YOLO:         a data.yaml with `names` and train/val, or labels/*.txt (best with classes.txt) beside images/
  CSV:          {WANTED}
  ILSVRC:       Annotations/DET/train and val (or CLS-LOC), Data/ and ImageSets/ beside Annotations/
  CVAT:         annotations.xml ("CVAT for images 1.1") beside images/
  LabelMe:      a JSON with "shapes" and "imagePath" for each image
  Label Studio: its export as JSON, with the images in a folder beside it"""


def _contents(path: Path) -> str:
    """Return what a folder holds, and of what kinds the files in its sub-folders are."""
    entries = sorted(path.iterdir())
    if not entries:
        return "the folder is empty"
    return f"it holds {listed([_kinds_in(e) if e.is_dir() else e.name for e in entries[:9]], 8)}"


def _kinds_in(folder: Path) -> str:
    try:
        kinds = Counter(PurePath(entry).suffix.lower() or "no ending" for entry in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return f"{folder.name}/"
    return f"{folder.name}/ ({', '.join(f'{n} {kind}' for kind, n in kinds.most_common(3)) or 'empty'})"


def _holds_images(path: Path) -> bool:
    inside = subfolders(path)
    return has_images(path) or any(has_images(p) or any(map(has_images, subfolders(p))) for p in inside)


def _files(root: Path, suffix: str) -> list[Path]:
    """Return the files of a kind in a folder and its annotations/, otherwise one folder below."""
    here = [*(root / "annotations").glob(f"*.{suffix}"), *root.glob(f"*.{suffix}")]
    return sorted(here) or sorted(root.glob(f"*/*.{suffix}"))


def _detect_file(path: Path) -> FoundDataset:
    kind = path.suffix.lower()
    if kind == ".json":
        found = _of_json(path)
        if found is None:
            raise UserError(
                f'{path}: not a COCO file: needs "images", "annotations" with boxes, and "categories"; nor '
                "a file of Label Studio or LabelMe"
            )
        return found
    if kind in (".yaml", ".yml"):
        return _yolo(path)
    if kind == ".xml" and is_cvat(path):
        return _export("cvat", path.parent, [path], path.parent.parent)
    if kind == ".csv" and is_table(path):
        return _export("csv", path.parent, [path], path.parent.parent)
    if kind == ".csv":
        raise UserError(f"{path}: no table of boxes: wanted is {WANTED}")
    raise UserError(
        f"{path}: a dataset is a folder, a COCO .json, a YOLO data.yaml, a .csv, CVAT's .xml or the JSON of "
        "Label Studio"
    )


def _of_json(file: Path) -> FoundDataset | None:
    """Return the dataset that a JSON file is, or is part of."""
    folder, outer = file.parent, file.parent.parent
    if item := _coco_set(file, [folder, outer]):
        return FoundDataset("coco", folder, (item,))
    content = read_json(file)
    if is_label_studio(content):
        return _export("labelstudio", folder, [file], outer)
    return _export("labelme", folder, [folder], outer) if is_labelme(content) else None


def _of_jsons(root: Path, broken: list[UserError] | None) -> FoundDataset | None:
    """Return the dataset of the JSON files of a folder."""
    labelme = [folder for folder in (root, *subfolders(root)) if holds_labelme(folder)]
    if labelme:
        return _export("labelme", root, labelme, root)
    sets = _coco_sets(root, broken)
    if sets:
        return FoundDataset("coco", root, sets)
    for file in _files(root, "json"):
        with suppress(UserError):  # the reader of COCO has said what is wrong
            if is_label_studio(read_json(file)):
                return _export("labelstudio", root, [file], root)
    return None


def _export(name: Any, root: Path, files: Sequence[Path], outer: Path) -> FoundDataset:
    """Return the dataset of an export: a set for each file, or for each part that one file names.

    Args:
        name: its format.
        root: the folder of the dataset.
        files: of annotations; for LabelMe folders.
        outer: the outermost folder in which images are looked for.
    """
    sets = []
    for file in files:
        images = EXPORTS[name](file)
        beside = file if is_folder(file) else file.parent
        places = (beside, root, outer, *([root.parent] if root.name.lower() in ANNOTATION_FOLDERS else []))
        folder = _folder_of(images, dict.fromkeys(places))
        parts = dict.fromkeys(image.part for image in images if image.part) if len(files) == 1 else {}
        stem = _split_of(file) or (_UNDIVIDED if len(files) == 1 else file.stem)
        named = [(part, part) for part in parts] if len(parts) > 1 else [(stem, "")]
        sets += [FoundSet(set_name, folder, file, part) for set_name, part in named]
    return FoundDataset(name, root, _with_own_names(sets, lambda file: file.stem))


def _split_of(file: Path) -> str:
    """Return which split a file says that it has, by its name or that of its folder: train_labels.csv."""
    for name in (file.stem, file.parent.name):
        words = re.split("[^a-z]+", name.lower())
        if found := next((split for split, own in _SPLIT_WORDS.items() if not own.isdisjoint(words)), ""):
            return found
    return ""


_SPLIT_WORDS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation"},
    "test": {"test", "testing"},
}
SPLIT_NAMES = frozenset(word for words in _SPLIT_WORDS.values() for word in words)


def _folder_of(images: Sequence[ExportedImage], places: Iterable[Path]) -> Path:
    """Return the folder from which on the first images are found; one called images/ where none is."""
    names = [PurePath(image.name.replace("\\", "/")) for image in images[:_TRIED]]
    wanted = [str(name) for name in names if ".." not in name.parts] + [name.name for name in names]
    first = None
    for place in places:
        ranked = sorted(subfolders(place), key=lambda folder: folder.name.lower() not in IMAGE_FOLDERS)
        for folder in (place, *ranked):
            if _holds(folder, wanted):
                return folder
            if first is None and folder.name.lower() in IMAGE_FOLDERS and _holds_images(folder):
                first = folder  # Label Studio and CVAT rename images, or sort them into folders
    return first or next(iter(places))


def _yolo(path: Path) -> FoundDataset:
    return FoundDataset("yolo", path, tuple(map(FoundSet, yolo_layout(path).distinct)))


def _coco_sets(root: Path, broken: list[UserError] | None) -> tuple[FoundSet, ...]:
    files = _files(root, "json")
    instances = [file for file in files if file.stem.startswith("instances")]
    outer = [root.parent] if root.name.lower() in ANNOTATION_FOLDERS else []
    found = []
    for file in instances or files:
        try:
            item = _coco_set(file, [file.parent, root, *outer])
        except UserError as error:
            if broken is None:
                raise
            broken.append(error)
            continue
        if item is not None:
            found.append(item)
    return _with_own_names(
        _with_own_names(found, lambda file: file.stem), lambda file: f"{file.parent.name}_{file.stem}"
    )


def _with_own_names(found: Sequence[FoundSet], name_of: Callable[[Path], str]) -> tuple[FoundSet, ...]:
    """Return the sets with another name for each whose name is not its own."""
    names = [item.name for item in found]
    return tuple(
        item
        if names.count(item.name) == 1 or item.annotations is None
        else replace(item, name=name_of(item.annotations))
        for item in found
    )


def _coco_set(file: Path, roots: list[Path]) -> FoundSet | None:
    content = read_json(file)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        return None
    objects = content["annotations"]
    if objects and not any(isinstance(item, dict) and "bbox" in item for item in objects):
        return None
    splits = ("train", "val", "test")
    beside = file.parent.name.lower().replace("valid", "val")
    name = next((split for split in splits if split in file.stem.lower()), beside)
    name = name if name in splits else file.stem
    return FoundSet(name, _image_folder(file, content["images"], roots, name), file)


def _image_folder(file: Path, images: list[Any], roots: list[Path], split: str) -> Path:
    """Return the folder in which one of the first images lies; beside the JSON file where none is found."""
    named = [image.get("file_name") for image in images[:_TRIED] if isinstance(image, dict)]
    first = [name for name in named if isinstance(name, str) and name]
    tail = file.stem.removeprefix("instances_")
    for root in roots:
        names = (tail, split, f"images/{tail}", f"images/{split}", "images", "JPEGImages", ".")
        for folder in (root / name for name in names):
            if folder.is_dir() and (not first or _holds(folder, first)):
                return folder
        for folder in sorted(p for p in root.iterdir() if p.is_dir()):
            if _holds(folder, first):
                return folder
    return file.parent


def _holds(folder: Path, names: list[str]) -> bool:
    return any(is_file(folder / name) for name in names)
