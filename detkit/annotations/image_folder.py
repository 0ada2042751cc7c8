"""Reader of image folders: the folder's name is the image's class, as ImageNet comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.annotations.assembly import Assembly
from detkit.annotations.class_names import label_names, listed
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.found_dataset import FoundDataset, FoundSet
from detkit.annotations.image_files import IMAGE_EXTENSIONS, images_below, with_sizes
from detkit.annotations.text_files import read_text
from detkit.errors import UserError, cut
from detkit.storage.regular_files import is_file, is_folder

UNDIVIDED = "all"
SPLITS = ("train", "training", "val", "valid", "validation", "test")
FIRST_PIXEL = (0.0, 0.0, 1.0, 1.0)


def read_image_folder(
    root: Path,
    split: str,
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = (),
) -> AnnotationSet:
    """Read root/SPLIT/CLASS/**/*.jpg; each image has one object, of the class of its folder.

    No image is opened, because ImageNet has a million: sizes stay (0, 0) and the object is the first pixel
    (box format "coco"). `whole_images` makes it the whole image.

    Args:
        root: the folder of the dataset.
        split: a folder in it, such as train; "all" where the classes lie in the root itself; or the path of
            a text file with one image path a line, of images in root/CLASS.
        classes: class names in label order; None takes the folders' names, sorted, less `ignore_classes`.
        ignore_classes: folders whose images are left out.

    Raises:
        UserError: the split is not there, holds no images, or has a folder that is in neither list.
    """
    files = _listed(root, Path(split)) if split.endswith(".txt") else _found(root, split)
    names = sorted({name for name, _ in files})
    kept = [name for name in names if name not in set(ignore_classes)] if classes is None else list(classes)
    labels = label_names(names, kept, ignore_classes, lambda at: str(root / split / names[at]))
    label_of = dict(zip(names, labels, strict=True))
    files = [(name, file) for name, file in files if label_of[name] >= 0]
    if not files:
        raise UserError(
            f"{root}: no image in {split}/CLASS/ for the classes {listed(kept)}; wanted are "
            "images in one folder for each class"
        )
    assembly = Assembly("coco")
    for name, file in files:
        assembly.add_image(file, (0, 0), str(root / file))
        assembly.add_object(name, FIRST_PIXEL)
    ids = range(1, len(kept) + 1)
    return assembly.build(str(root), kept, [label_of[name] for name, _ in files], ids)


def whole_images(truth: AnnotationSet) -> AnnotationSet:
    """Return the set with the object of each image grown to the whole image, whose header is read.

    Args:
        truth: N images with one object each, box format "coco".

    Raises:
        UserError: an image is missing or unreadable.
    """
    sized = with_sizes(truth)
    height, width = sized.sizes.T.astype(np.float64)
    boxes = np.stack([np.zeros_like(width), np.zeros_like(width), width, height], axis=1)
    return replace(sized, boxes=boxes, areas=width * height)


def find_image_folder(root: Path) -> FoundDataset | None:
    """Recognise a folder of images by class, divided into train and val (or not); None where it is none."""
    if not is_folder(root):
        return None
    parts = [folder for folder in _folders(root) if folder.name.lower() in SPLITS]
    divided = [part.name for part in parts if _has_classes(part)]
    if divided:
        return FoundDataset("image_folder", root, tuple(map(FoundSet, divided)))
    if not parts and _has_classes(root):
        return FoundDataset("image_folder", root, (FoundSet(UNDIVIDED),))
    return None


def _has_classes(folder: Path) -> bool:
    """Return whether at least two folders hold images directly."""
    return sum(any(map(_is_image, inner.iterdir())) for inner in _folders(folder)) > 1


def _found(root: Path, split: str) -> list[tuple[str, str]]:
    folder = root if split == UNDIVIDED and not is_folder(root / split) else root / split
    if not is_folder(folder):
        there = [inner.name for inner in _folders(root)] if is_folder(root) else []
        has = listed(there) if there else "no folders"
        raise UserError(f"{cut(str(folder), 300)}: no such folder; {root} has {has}")
    return [
        (inner.name, str(file.relative_to(root)))
        for inner in _folders(folder)
        for file in images_below(inner)
    ]


def _listed(root: Path, file: Path) -> list[tuple[str, str]]:
    if not is_file(file):
        raise UserError(f"{file}: no such file; wanted is a text file with one image path a line")
    found = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        image = Path(line.strip())
        if not line.strip():
            continue
        inner = image.relative_to(root.resolve()) if image.is_relative_to(root.resolve()) else image
        if inner.is_absolute() or ".." in inner.parts or len(inner.parts) < 2:
            raise UserError(f"{file}:{number}: {cut(str(image), 300)} is not in a class's folder in {root}")
        found.append((inner.parts[0], str(inner)))
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_EXTENSIONS
