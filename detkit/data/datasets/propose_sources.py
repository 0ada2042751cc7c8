"""Which images `detkit propose` looks at, and what they are called in its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.annotations.image_files import image_path
from detkit.data.datasets.image_sources import find_images
from detkit.data.datasets.labelled_images import labelled_images
from detkit.data.datasets.source import Source
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import SYNTHETIC, is_embedded
from detkit.errors import UserError


@dataclass(frozen=True)
class ImagesToSee:
    """N images to look at.

    Attributes:
        names: what each is called.
        pixels: returns the (H, W, 3) uint8 RGB pixels of the image at a position.
        stamps: N values that change when an image is replaced: quicker to have than its content.
        truth: labels, where the source is a dataset.
    """

    names: list[str]
    pixels: Callable[[int], NDArray[np.uint8]]
    stamps: list[Any]
    truth: AnnotationSet | None


def images_to_see(sources: Sequence[str], sets: Sequence[str] = ()) -> ImagesToSee:
    """Return the images of a dataset, or those of files, folders and glob patterns.

    Args:
        sources: one VOC, COCO or YOLO dataset or `synthetic`; or image files, folders (with all below
            them) and patterns.
        sets: parts of the dataset, such as train or val.

    Raises:
        UserError: a source is not there or holds no image, or there are sets without a dataset.
    """
    if len(sources) == 1 and _is_dataset(sources[0]):
        return _of_dataset(labelled_images(sources[0], sets))
    if sets:
        raise UserError(f"--set {sets[0]}: parts are chosen of one dataset; {', '.join(sources)} is none")
    files: dict[Path, str] = {}
    for source in sources:
        for file in find_images([source]):
            inside = Path(source).is_dir()
            files.setdefault(file, (file.relative_to(source) if inside else Path(file.name)).as_posix())
    shared = {name for name, count in Counter(files.values()).items() if count > 1}
    names = [file.as_posix() if name in shared else name for file, name in files.items()]
    paths = list(files)
    return ImagesToSee(names, lambda image: decode_image(paths[image]), _sizes(paths), None)


def _is_dataset(source: str) -> bool:
    path = Path(source)
    if is_embedded(source):
        return True
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return True
    if not path.is_dir():
        return False
    try:
        detect_format(path)
    except UserError:
        return False  # a folder with images
    return True


def _of_dataset(images: Source) -> ImagesToSee:
    truth = images.annotations
    names = [str(name).replace("\\", "/") for name in truth.image_files.tolist()]
    if truth.root == SYNTHETIC:
        return ImagesToSee(names, images.pixels, truth.sources.tolist(), truth)
    paths = [image_path(truth, image) for image in range(truth.num_images)]
    return ImagesToSee(names, images.pixels, _sizes(paths), truth)


def _sizes(paths: Sequence[Path]) -> list[int]:
    try:
        return [path.stat().st_size for path in paths]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
