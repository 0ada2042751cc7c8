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

from detkit.annotations.dataset import AnnotationSet, select_images
from detkit.annotations.image_places import ImagePlaces, unfit
from detkit.errors import UserError, cut
from detkit.names import file_name
from detkit.storage.regular_files import MEBIBYTE, is_file, read_bytes

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".ppm", ".pgm")
"""Extensions of images, compared in lower case."""

ORIENTATION_TAG = 0x0112

MOST_BYTES = 1024 * MEBIBYTE
MOST_PIXELS = 178_956_970
LONGEST_SIDE = 1_000_000
"""Bounds of an image file: its pixels as RGB are 512 MiB. A file of a few hundred bytes can state more."""

_MOST_STRANGERS = 200_000


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
    """Check that every image of the set is a file where its images may lie, listing each folder once.

    Raises:
        UserError: names the first images that are missing, or that are not opened (see `ImagePlaces`), how
            many there are and the annotations that want them.
    """
    places = ImagePlaces.of(truth)
    listing = cache(_entries)
    missing, refused = list[str](), list[str]()
    for index, path in enumerate(image_paths(truth)):
        folder, name = os.path.split(path)
        plain = listing(folder).get(name) if places.holds(folder) else False
        if plain:
            continue
        wanted = f"wanted by {truth.sources[index]}"
        if why := "" if plain is None else places.refusal(path):
            refused.append(f"  {cut(path, 300)}: {why} ({wanted})")
        elif plain is None:
            missing.append(f"  {cut(path, 300)} ({wanted})")
    if refused:
        head = f"{len(refused)} of {truth.num_images} images are not opened"
        raise UserError(f"{head}:", *_first(refused))
    if missing:
        raise UserError(
            f"{len(missing)} of {truth.num_images} images are missing:",
            *_first(missing),
            "Put the images there, or correct the data's `root` or `images` in the config.",
        )


def _first(lines: list[str]) -> list[str]:
    return [*lines[:3], *(["  ..."] if len(lines) > 3 else [])]


def _entries(folder: str) -> dict[str, bool]:
    """Return the names in a folder, and whether each is a plain file: no link, no folder, no device."""
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except (OSError, ValueError):
        return {}


def images_below(
    folder: Path, others: Counter[str] | None = None, extensions: tuple[str, ...] = IMAGE_EXTENSIONS
) -> list[Path]:
    """Return all images in a folder and its sub-folders, sorted by path; links to folders are not followed.

    An image is recognised by its extension, and what begins with a point (._photo.jpg, which macOS writes,
    .thumbnails/) is none. A link to nothing or a pipe with the name of an image is among them, so that it is
    not passed over in silence: to read it is an error that says so.

    Args:
        folder: where to look.
        others: counts the files that are no images, by extension.
        extensions: of the files that are looked for.

    Raises:
        UserError: the folder holds a multitude of files that are no images, as `/` does.
    """
    found, strangers = list[Path](), 0
    waiting = [str(folder)]
    while waiting:
        for entry in _listed(waiting.pop()):
            is_folder = entry.is_dir(follow_symlinks=False)
            extension = PurePath(entry.name).suffix.lower()
            if entry.name.startswith("."):
                pass
            elif is_folder:
                waiting.append(entry.path)
            elif extension in extensions:
                found.append(Path(entry.path))
                continue
            elif others is not None and not entry.is_dir():
                others[extension] += 1
            strangers += 1
            if strangers > _MOST_STRANGERS + 2 * len(found):
                raise UserError(
                    f"{folder}: {strangers:,} files and folders in it are no images, and {len(found):,} are; "
                    "name the folder that holds the images"
                )
    return sorted(found)


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # as a walk of pathlib passes over what it may not read
        return []


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


def is_missing(path: Path) -> bool:
    """Return whether there is nothing at a path, or a link to nothing."""
    return not is_file(path) and not unfit(path)


def read_image(path: Path) -> bytes:
    """Return the content of an image file, not decoded.

    Raises:
        UserError: there is no such file, it is no file but a folder, pipe or device, or it has more than
            `MOST_BYTES`.
    """
    if is_missing(path):
        raise UserError(f"{cut(str(path), 300)}: the image does not exist")
    return read_bytes(path, MOST_BYTES)


def require_pixels(width: int, height: int) -> None:
    """Check the size that an image's header states, before memory is taken for it.

    Raises:
        UserError: it has more pixels than `MOST_PIXELS`, or a side is longer than `LONGEST_SIDE`.
    """
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise UserError(
            f"the image is too large ({width} x {height} pixels; at most {MOST_PIXELS:,} are decoded, and "
            f"{LONGEST_SIDE:,} along a side); cut it into tiles"
        )


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels of an image as it is seen, EXIF orientation applied.

    Raises:
        UserError: the file is missing or is not an image that can be decoded.
    """
    if reason := unfit(path):
        raise UserError(f"{path}: not a readable image ({reason})")
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = orientation(image) >= 5
        require_pixels(width, height)
    except FileNotFoundError:
        raise UserError(f"{cut(str(path), 300)}: the image does not exist") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{cut(str(path), 300)}: not a readable image ({error})") from None
    return (width, height) if turned else (height, width)


def with_sizes(truth: AnnotationSet) -> AnnotationSet:
    """Return the set with the sizes that its annotations do not state, (0, 0), read from the images.

    Raises:
        UserError: such an image is missing or unreadable, or is not to be opened (see `require_images`).
    """
    unknown = np.flatnonzero((truth.sizes <= 0).any(axis=1))
    if len(unknown) == 0:
        return truth
    require_images(select_images(truth, unknown))
    sizes = truth.sizes.copy()
    sizes[unknown] = [image_size(image_path(truth, int(i))) for i in unknown]
    return replace(truth, sizes=sizes)
