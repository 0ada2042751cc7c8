"""Format detection of a dataset folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detkit.annotations.coco import read_json
from detkit.annotations.voc import contents_of, voc_folders, voc_subfolders
from detkit.annotations.yolo_layout import find_data_yaml, yolo_layout
from detkit.errors import UserError, cut
from detkit.storage.regular_files import is_file, is_folder

Format = Literal["voc", "coco", "yolo", "image_folder"]


_TRIED = 10  # images that are looked for: one or the other may be missing


@dataclass(frozen=True)
class FoundSet:
    """One part of a dataset.

    Attributes:
        name: "train", "2007_trainval", ...; for COCO the stem of the JSON file where it says neither
            train, val nor test.
        images: folder of the images, for COCO.
        annotations: JSON file, for COCO.
    """

    name: str
    images: Path | None = None
    annotations: Path | None = None


@dataclass(frozen=True)
class FoundDataset:
    """A dataset's format, where it starts, and its parts (none: VOC files that are not divided)."""

    format: Format
    root: Path
    sets: tuple[FoundSet, ...]

    def resolved(self) -> FoundDataset:
        """Return the dataset with absolute paths, which a config file needs."""
        sets = (
            FoundSet(
                item.name,
                item.images and item.images.resolve(),
                item.annotations and item.annotations.resolve(),
            )
            for item in self.sets
        )
        return FoundDataset(self.format, self.root.resolve(), tuple(sets))


def detect_format(path: Path, broken: list[UserError] | None = None) -> FoundDataset:
    """Recognise a VOC folder, a COCO folder or JSON file, or a YOLO folder or data.yaml.

    Args:
        path: the folder or file.
        broken: takes what is wrong with JSON files that cannot be read, and they are passed over; None
            refuses them.

    Raises:
        UserError: nothing matches; the message says what was looked for and what is there.
    """
    if is_file(path):
        return _detect_file(path)
    if not is_folder(path):
        raise UserError(f"{cut(str(path), 300)}: the folder or file does not exist")
    if voc_folders(path):
        names = [name for folder in voc_folders(path) for name in folder.set_names()]
        return FoundDataset("voc", path, tuple(map(FoundSet, names)))
    if voc_subfolders(path):
        return FoundDataset("voc", path, tuple(map(FoundSet, voc_subfolders(path))))
    sets = _coco_sets(path, broken)
    if sets:
        return FoundDataset("coco", path, sets)
    if find_data_yaml(path) or any((path / name).is_file() for name in ("classes.txt", "obj.names")):
        return _yolo(path)
    nested = [p for p in sorted(path.iterdir()) if p.is_dir() and p.name in ("VOCdevkit", path.name)]
    if len(nested) == 1:
        return detect_format(nested[0], broken)
    raise UserError(f"{path}: {contents_of(path)}; no dataset recognised. Looked for:\n{_LOOKED_FOR}")


_LOOKED_FOR = """\
  VOC:  Annotations/*.xml, VOC<year>/Annotations/*.xml, or *.xml here or one folder below
  COCO: *.json with "images", "annotations" and "categories", here, in annotations/ or one folder below
  YOLO: a data.yaml with `names` and train/val, or classes.txt with images/ and labels/"""


def _detect_file(path: Path) -> FoundDataset:
    if path.suffix.lower() == ".json":
        found = _coco_set(path, [path.parent, path.parent.parent])
        if found is None:
            raise UserError(
                f'{path}: not a COCO file: needs "images", "annotations" with boxes, and "categories"'
            )
        return FoundDataset("coco", path.parent, (found,))
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yolo(path)
    raise UserError(f"{path}: a dataset is a folder, a COCO .json or a YOLO data.yaml")


def _yolo(path: Path) -> FoundDataset:
    return FoundDataset("yolo", path, tuple(map(FoundSet, yolo_layout(path).splits)))


def _coco_sets(root: Path, broken: list[UserError] | None) -> tuple[FoundSet, ...]:
    files = sorted([*(root / "annotations").glob("*.json"), *root.glob("*.json")])
    files = files or sorted(root.glob("*/*.json"))
    instances = [file for file in files if file.stem.startswith("instances")]
    found = []
    for file in instances or files:
        try:
            item = _coco_set(file, [file.parent, root])
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
        else FoundSet(name_of(item.annotations), item.images, item.annotations)
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
