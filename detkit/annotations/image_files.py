"""Image files of annotations: their paths, and their sizes from headers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, UnidentifiedImageError

from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError
from detkit.names import file_name

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".ppm", ".pgm")
"""Extensions of images, compared in lower case."""

ORIENTATION_TAG = 0x0112


class ImageFolders:
    """Look-up of images by name in a few folders, each listed once.

    Args:
        folders: where to look, in order; those that do not exist are passed over.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._exact: dict[str, Path] = {}
        self._stems: dict[str, Path] = {}
        self._folded: dict[str, Path] = {}
        for folder in folders:
            for name in _names(folder):
                stem = PurePath(name).stem
                if PurePath(name).suffix.lower() in IMAGE_EXTENSIONS:
                    self._exact.setdefault(name, folder / name)
                    self._stems.setdefault(stem, folder / name)
                    self._folded.setdefault(stem.lower(), folder / name)

    def find(self, stem: str, file_name: str | None) -> Path | None:
        """Return the image of an annotation, or None.

        The annotation's own stem is tried before the file name written in it, because copied
        annotations often keep the name of another image.

        Args:
            stem: name of the annotation file without extension.
            file_name: the image's name as written in the annotation.
        """
        base = (file_name or "").replace("\\", "/").rsplit("/", 1)[-1]
        written = PurePath(base).stem
        if written == stem and base in self._exact:
            return self._exact[base]
        for table, key in (
            (self._stems, stem),
            (self._folded, stem.lower()),
            (self._exact, base),
            (self._folded, written.lower()),
        ):
            if key in table:
                return table[key]
        return None


def image_path(truth: AnnotationSet, index: int) -> Path:
    """Return the path of an image of the set."""
    return Path(truth.root) / str(truth.image_files[index])


def image_paths(truth: AnnotationSet) -> list[str]:
    """Return the path of each image of the set, as text: for a hundred thousand, `Path`s take seconds."""
    root = truth.root
    return [os.path.join(root, file) for file in truth.image_files.tolist()]  # noqa: PTH118


def image_names(truth: AnnotationSet) -> list[str]:
    """Return each image's name as files and lists use it: without folder and extension; see `file_name`.

    Raises:
        UserError: two images share a name.
    """
    names = [file_name(PurePath(file).stem) for file in truth.image_files.tolist()]
    if len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        raise UserError(
            f"{count} images are called {name!r}; here images are told apart by their names alone"
        )
    return names


def copied_name(image: str | Path) -> str:
    """Return the file name of an image in a written dataset: what `image_names` gives, and an ending."""
    path = PurePath(image)
    return file_name(path.stem) + (file_name(path.suffix) if path.suffix else "")


def require_images(truth: AnnotationSet) -> None:
    """Check that every image file of the set exists, listing each folder once.

    Raises:
        UserError: names the first missing files, how many are missing and the annotations that want them.
    """
    listing = cache(lambda folder: frozenset(_names(Path(folder))))
    paths = image_paths(truth)
    parts = map(os.path.split, paths)
    missing = [i for i, (folder, name) in enumerate(parts) if name not in listing(folder)]
    if missing:
        lines = [f"  {paths[i]} (wanted by {truth.sources[i]})" for i in missing[:3]]
        raise UserError(
            f"{len(missing)} of {truth.num_images} images are missing:\n"
            + "\n".join(lines)
            + ("\n  ..." if len(missing) > 3 else "")
            + "\nPut the images there, or correct the data's `root` or `images` in the config."
        )


def images_below(folder: Path) -> list[Path]:
    """Return all images in a folder and its sub-folders, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_EXTENSIONS and p.is_file())


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation (1 to 8) that is left to apply to an opened image's pixels and size.

    It is 1 where none is written before the pixels, and for TIFF, which Pillow and OpenCV turn themselves.
    Nothing is decoded: `getexif` of a PNG without EXIF would read the whole image to look behind it.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    value = image.getexif().get(ORIENTATION_TAG, 1)
    return value if value in range(1, 9) else 1


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels of an image as it is seen, EXIF orientation applied.

    Raises:
        UserError: the file is missing or is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = orientation(image) >= 5
    except FileNotFoundError:
        raise UserError(f"{path}: the image does not exist") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from None
    return (width, height) if turned else (height, width)


def with_sizes(truth: AnnotationSet) -> AnnotationSet:
    """Return the set with the sizes that its annotations do not state, (0, 0), read from the images.

    Raises:
        UserError: such an image is missing or unreadable.
    """
    unknown = np.flatnonzero((truth.sizes <= 0).any(axis=1))
    if len(unknown) == 0:
        return truth
    sizes = truth.sizes.copy()
    sizes[unknown] = [image_size(image_path(truth, int(i))) for i in unknown]
    return replace(truth, sizes=sizes)
