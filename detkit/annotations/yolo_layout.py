"""Images, labels and class names of a YOLO dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from detkit.annotations.class_names import listed, name_fault
from detkit.annotations.image_files import IMAGE_EXTENSIONS, images_below
from detkit.annotations.image_places import ImagePlaces
from detkit.annotations.text_files import read_lines, read_text
from detkit.errors import UserError, cut, shown
from detkit.storage.regular_files import is_file, is_folder
from detkit.storage.strict_yaml import read_yaml_file

_SPLITS = ("train", "val", "test")
_ALIASES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_NOTHING: tuple[Any, ...] = ("", "~", "null", [])
_NUMBER = re.compile("0|[1-9][0-9]{0,8}")
_MOST_NAMELESS = 10_000  # classes that only have numbers
_NAMES_FILES = ("classes.txt", "obj.names", "labels/classes.txt")
_LOOKED_INTO = 20  # files of labels, for whether they are YOLO's


@dataclass(frozen=True)
class YoloLayout:
    """Layout of a YOLO dataset on disk.

    Attributes:
        base: folder that relative paths start from.
        names: class name of each number, in order of the numbers.
        names_file: file that the names come from.
        splits: the places of each split's images: folders, or text files with one image path a line.
    """

    base: Path
    names: dict[int, str]
    names_file: Path
    splits: dict[str, list[Path]]

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders that images may lie in: `base`, those of the splits, and those that text files lie in."""
        places = [place for split in self.splits.values() for place in split]
        return (self.base, *(place if is_folder(place) else place.parent for place in places))

    @property
    def distinct(self) -> list[str]:
        """Names of the splits, one for each that has places of its own.

        Ultralytics wants both train and val, so a set that is not divided names its images twice. Of two
        names the folder's own is taken, or the first.
        """
        names: dict[tuple[Path, ...], str] = {}
        for name, places in self.splits.items():
            if (key := tuple(places)) not in names or (places and places[0].name == name):
                names[key] = name
        return [name for name in self.splits if names[tuple(self.splits[name])] == name]

    def images(self, split: str) -> list[Path]:
        """Return the images of a split, in order.

        Raises:
            UserError: there is no such split, or a place of it is missing or holds no image.
        """
        places = self.splits.get(split)
        if places is None and split.endswith(".txt"):
            places = [p for p in (Path(split), self.base / split) if is_file(p)][:1]
        if not places:
            raise UserError(
                f"{self.base}: no split {shown(split)}; it may be one of: "
                f"{', '.join(self.splits) or '(none found)'}; or a text file with one image path a line"
            )
        found = [image for place in places for image in _images_at(place)]
        if not found:
            looked = listed(places, 3)
            raise UserError(f"{self.base}: the split {shown(split)} has no images; looked in {looked}")
        return found

    def label_file(self, image: Path) -> Path:
        """Return the text file of an image: the last folder named images becomes labels."""
        head, middle, tail = str(image).rpartition(f"{os.sep}images{os.sep}")
        swapped = Path(f"{head}{os.sep}labels{os.sep}{tail}") if middle else image
        return swapped.with_suffix(".txt")


def find_data_yaml(root: Path) -> Path | None:
    """Return the data file of a YOLO dataset (a YAML file with `names` and a split), or None.

    A data.yaml that cannot be read is one, too: whoever reads it says what is wrong with it.
    """
    if root.suffix.lower() in (".yaml", ".yml"):
        return root if is_file(root) else None
    for file in sorted([*root.glob("*.yaml"), *root.glob("*.yml")], key=lambda p: (p.stem != "data", p.name)):
        try:
            content = read_yaml_file(file).value
        except UserError:
            if file.stem == "data":
                return file
            continue
        if isinstance(content, dict) and "names" in content and _split_keys(content):
            return file
    return None


def yolo_layout(root: Path) -> YoloLayout:
    """Return the layout of a dataset, from its data.yaml or from folders and classes.txt.

    In data.yaml, `path` is relative to the file's own folder, and the splits to `path`; a split is a
    folder, a text file of image paths, or a list of those. The splits are train, val and test, and any
    other key whose folder is images/<key>, as `detkit.annotations.writers` names them. The file may name
    places outside of its folder only where the file itself is what the user named.

    Raises:
        UserError: neither is there, or data.yaml is malformed or names a place outside of the folder.
    """
    file = find_data_yaml(root)
    if file is not None:
        layout = _from_yaml(file)
        if file != root:
            _require_inside(layout, file, root)
        return layout
    names_file, splits = names_file_of(root), _folder_splits(root)
    if names_file is not None:
        names = _faultless(dict(enumerate(read_lines(names_file))), names_file)
        return YoloLayout(root, names, names_file, splits)
    layout = YoloLayout(root, {}, root / _NAMES_FILES[0], splits)
    highest = max((number for file in _label_files(layout) for number in _classes_in(file)), default=-1)
    if not 0 <= highest < _MOST_NAMELESS:
        raise UserError(
            f"{root}: no YOLO dataset: looked for a data.yaml with `names` and a split, "
            f"and for labels/*.txt beside images/, best with classes.txt (one class name a line)"
        )
    return replace(layout, names={number: str(number) for number in range(highest + 1)})


def names_file_of(root: Path) -> Path | None:
    """Return the file with a class name a line of a dataset without data.yaml, or None."""
    return next((root / name for name in _NAMES_FILES if is_file(root / name)), None)


def has_labels(root: Path) -> bool:
    """Return whether images of a folder have YOLO's labels, though nothing names the classes."""
    layout = YoloLayout(root, {}, root / _NAMES_FILES[0], _folder_splits(root))
    return any(map(_classes_in, islice(_label_files(layout), _LOOKED_INTO)))


def _label_files(layout: YoloLayout) -> Iterator[Path]:
    images = (image for places in layout.splits.values() for place in places for image in images_below(place))
    return filter(is_file, map(layout.label_file, images))


def _classes_in(file: Path) -> list[int]:
    """Return the class of each line of a file of labels; nothing where a line of it is none."""
    found = []
    try:
        for line in read_text(file).splitlines():
            word, *values = line.split() or [""]
            if word:
                found.append(
                    int(word) if _NUMBER.fullmatch(word) and len(list(map(float, values))) > 3 else -1
                )
    except (UserError, ValueError):
        return []
    return [] if -1 in found else found


def _require_inside(layout: YoloLayout, file: Path, root: Path) -> None:
    inside = ImagePlaces([root])
    for place in (layout.base, *(place for places in layout.splits.values() for place in places)):
        if place.exists() and not inside.holds(str(place)):
            raise UserError(
                f"{file}: names {place}, which is outside of {root}; where that is meant, name the file "
                f"itself as the dataset: {file}"
            )


def _folder_splits(root: Path) -> dict[str, list[Path]]:
    """Return the splits of images/<split> or <split>/images, or obj_<split>_data (CVAT); otherwise "all"."""
    splits = {}
    for split in _SPLITS:
        for name in _ALIASES[split]:
            places = (root / "images" / name, root / name / "images", root / f"obj_{name}_data")
            place = next((p for p in places if p.is_dir()), None)
            if place is not None:
                splits[split] = [place]
    if not splits:
        splits["all"] = [root / "images" if (root / "images").is_dir() else root]
    return splits


def _from_yaml(file: Path) -> YoloLayout:
    content = read_yaml_file(file, as_text=True).whole()
    if not isinstance(content, dict) or "names" not in content:
        raise UserError(f"{file}: a YOLO data file needs `names` and at least one of train, val, test")
    content = {key: value for key, value in content.items() if value not in _NOTHING}
    alias = next((name for name in _ALIASES["val"] if name in content), "val")
    content = {"val" if key == alias else key: value for key, value in content.items()}
    base = file.parent / str(content.get("path", ""))
    if not is_folder(base):
        base = file.parent
    splits = {}
    for key in _split_keys(content):
        value = content[key]
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in entries):
            raise UserError(f"{file}: {key} must be a path or a list of paths; found {shown(value)}")
        splits[key] = [_place(base, file.parent, entry) for entry in entries]
    return YoloLayout(base, _names(content["names"], file), file, splits)


def _split_keys(content: dict[Any, Any]) -> list[str]:
    others = [key for key, value in content.items() if key not in _SPLITS and value == f"images/{key}"]
    return [*(key for key in _SPLITS if key in content), *map(str, others)]


def _place(base: Path, beside: Path, entry: str) -> Path:
    """Return a split's place; exporters often write ../train/images for a folder beside the file."""
    candidates = [base / entry, beside / entry, base / entry.removeprefix("../")]
    return next((Path(os.path.normpath(p)) for p in candidates if os.path.exists(p)), base / entry)  # noqa: PTH110


def _names(value: Any, file: Path) -> dict[int, str]:
    numbered: dict[Any, Any] = dict(enumerate(value)) if isinstance(value, list) else value
    if isinstance(numbered, dict) and all(
        _NUMBER.fullmatch(str(number)) and not isinstance(name, list | dict)
        for number, name in numbered.items()
    ):
        return _faultless({int(number): str(numbered[number]) for number in sorted(numbered, key=int)}, file)
    raise UserError(
        f"{file}: `names` must be a list of names, or numbers with names (0: cat); found {shown(value)}"
    )


def _images_at(place: Path) -> list[Path]:
    if is_folder(place):
        return images_below(place)
    if not is_file(place):
        raise UserError(f"{cut(str(place), 300)}: the folder or list of images does not exist")
    return [
        Path(os.path.normpath(place.parent / line))
        for line in read_lines(place)
        if Path(line).suffix.lower() in IMAGE_EXTENSIONS
    ]


def _faultless(names: dict[int, str], file: Path) -> dict[int, str]:
    for number, name in names.items():
        if fault := name_fault(name):
            raise UserError(f"{file}: the name {shown(name)} of class {number} {fault}")
    return names
