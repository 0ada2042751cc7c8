"""Reader and writer of VOC's comp4 files: detections, one text file for each class."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from detkit.annotations.coordinates import boxes_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.image_files import image_names
from detkit.annotations.text_files import read_text
from detkit.annotations.validity import FARTHEST_PX
from detkit.errors import UserError, shown
from detkit.names import file_names
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically

_PREFIX = "comp4_det_"
_LONGEST_CLASS = 180  # bytes; the prefix, the set and the ending come to it
_SHOWN = 5


def read_comp4(files: str | Path | Sequence[str | Path], truth: AnnotationSet) -> DetectionSet:
    """Read comp4 files for the images of a set, in the set's own box format.

    Detections keep the order of the files (classes in the set's order, then line by line), which
    decides between equal scores. A class without a file has no detections; the user is told.

    Args:
        files: a folder with comp4_det_<set>_<class>.txt, or those files; a class may be written as it is, or
            as `write_comp4` writes it.
        truth: the set; an image's name is its file name without folder and extension.

    Raises:
        UserError: there is no file, a file is of no class of the set or of a class twice, or a line is
            not `image score x1 y1 x2 y2`, all of them finite, or names an unknown image.
    """
    paths = Path(files) if isinstance(files, str | Path) else list(map(Path, files))
    by_class = _files_by_class(paths, truth)
    table = {name: index for index, name in enumerate(image_names(truth))}
    images: list[int] = []
    values: list[list[float]] = []
    labels: list[int] = []
    for label, file in sorted(by_class.items()):
        before = len(images)
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if line.strip():
                image, numbers = _line(line, table, f"{file}:{number}")
                images.append(image)
                values.append(numbers)
        labels += [label] * (len(images) - before)
    numbers_array = np.asarray(values, dtype=np.float64).reshape(-1, 5)
    return DetectionSet(
        np.asarray(images, dtype=np.int64),
        np.asarray(labels, dtype=np.int32),
        np.ascontiguousarray(numbers_array[:, 0]),
        boxes_as(numbers_array[:, 1:], "voc", truth.box_format),
        truth.box_format,
    )


def write_comp4(
    folder: Path, detections: DetectionSet, truth: AnnotationSet, set_name: str = "test"
) -> list[Path]:
    """Write one comp4 file for each class, empty ones too, and return their paths.

    A class is written as `file_names` has it, an image as `image_names` has it. Lines keep the order of the
    detections. Scores have 6 decimals and coordinates 1, as the devkit's
    own baselines write them; coordinates are VOC's 1-based inclusive pixels.

    Args:
        folder: where the files go.
        detections: the detections.
        truth: their set.
        set_name: goes into the file names.
    """
    boxes = boxes_as(detections.boxes, detections.box_format, "voc")
    names = image_names(truth)
    written = []
    for label, class_name in enumerate(file_names(truth.classes, _LONGEST_CLASS)):
        rows = np.flatnonzero(detections.labels == label)
        lines = [
            f"{names[image]} {score:.6f} {x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}\n"
            for image, score, (x1, y1, x2, y2) in zip(
                detections.images[rows].tolist(),
                detections.scores[rows].tolist(),
                boxes[rows].tolist(),
                strict=True,
            )
        ]
        file = folder / f"{_PREFIX}{set_name}_{class_name}.txt"
        write_atomically(file, "".join(lines))
        written.append(file)
    return written


def _files_by_class(files: Path | Sequence[Path], truth: AnnotationSet) -> dict[int, Path]:
    listed = sorted(files.glob(f"{_PREFIX}*.txt")) if isinstance(files, Path) and files.is_dir() else files
    listed = [listed] if isinstance(listed, Path) else list(listed)
    if not listed:
        raise UserError(f"{files}: no file is called {_PREFIX}<set>_<class>.txt")
    written = file_names(truth.classes, _LONGEST_CLASS)
    by_class: dict[int, Path] = {}
    for file in listed:
        tail = file.stem.removeprefix(_PREFIX)
        label = _ending(tail, written)
        label = _ending(tail, truth.classes) if label is None else label  # by another program
        if label is None:
            known = ", ".join(truth.classes)
            raise UserError(f"{file}: {tail!r} does not end in the name of a class; classes: {known}")
        if by_class.setdefault(label, file) != file:
            raise UserError(f"{truth.classes[label]!r} has two files: {by_class[label]} and {file}; keep one")
    missing = [name for label, name in enumerate(truth.classes) if label not in by_class]
    if missing:
        some = ", ".join(map(repr, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
        say(f"{files}: no {_PREFIX}<set>_<class>.txt for {some}: nothing is found of a class without a file")
    return by_class


def _ending(text: str, names: Sequence[str]) -> int | None:
    """Return the place of the longest name that a text ends in; None where it ends in none."""
    owners = [i for i, name in enumerate(names) if text.endswith(f"_{name}")]
    return max(owners, key=lambda i: len(names[i]), default=None)


def _line(line: str, table: dict[str, int], place: str) -> tuple[int, list[float]]:
    name, *words = line.strip().rsplit(maxsplit=5)
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 5:
        raise UserError(f"{place}: expected `image score x1 y1 x2 y2`; found {shown(line.strip())}")
    if not (isfinite(numbers[0]) and all(abs(number) <= FARTHEST_PX for number in numbers[1:])):
        limits = f"a finite score and 4 coordinates of at most {FARTHEST_PX:g}"
        raise UserError(f"{place}: expected {limits}; found {shown(' '.join(words))}")
    if name not in table:
        raise UserError(f"{place}: the annotations have no image {shown(name)}")
    return table[name], numbers
