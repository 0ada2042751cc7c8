"""Reader of YOLO folders: a text file of normalised boxes for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path

from detkit.annotations.assembly import Assembly
from detkit.annotations.class_names import class_ids
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_size
from detkit.annotations.image_places import ImagePlaces
from detkit.annotations.text_files import read_text
from detkit.annotations.validity import require_boxes
from detkit.annotations.yolo_layout import YoloLayout, yolo_layout
from detkit.errors import UserError, cut, shown
from detkit.storage.regular_files import is_file


def read_yolo(
    root: str | Path,
    split: str,
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = (),
) -> AnnotationSet:
    """Read one split of a YOLO dataset; its boxes become x y width height in pixels (box format "coco").

    Image sizes are read from the images' headers; (0, 0) stands for that of an unreadable one. An image
    without a label file, or with an empty one, has no objects. A line of more than 5 numbers is a polygon, of
    which the enclosing box is taken.

    Args:
        root: the data.yaml, or the folder with it, or a folder with images/, labels/ and classes.txt.
        split: "train", "val" or "test"; "all" where images/ is not divided; or the path of a text file with
            one image path a line, from the working directory or from root.
        classes: class names in label order; None takes the dataset's own, less `ignore_classes`.
        ignore_classes: names whose objects are left out; their images are kept.

    Raises:
        UserError: the split, an image or a name is not there, or a line is malformed (file and line);
            see also `require_boxes`.
    """
    layout = yolo_layout(Path(root))
    base = str(layout.base)
    assembly, places = Assembly("coco"), ImagePlaces(layout.roots)
    for image in layout.images(split):
        if why := places.refusal(str(image)):
            raise UserError(f"{image}: not opened as an image: {why}")
        try:
            size = image_size(image)
        except UserError:  # whoever opens the image hears why
            size = (0, 0)
        label_file = layout.label_file(image)
        assembly.add_image(_relative(image, layout.base), size, str(label_file))
        for name, box in _objects(label_file, size, layout):
            assembly.add_object(name, box)
    ids = {name: number for number, name in layout.names.items()}
    kept = [name for name in ids if name not in set(ignore_classes)] if classes is None else list(classes)
    labels = assembly.labels(kept, ignore_classes)
    truth = require_boxes(assembly.build(base, kept, labels, class_ids(kept, ids)))
    return replace(truth, image_roots=tuple(map(str, layout.roots)))


def _relative(image: Path, base: Path) -> str:
    return str(image.relative_to(base)) if image.is_relative_to(base) else str(image.absolute())


def _objects(
    file: Path, size: tuple[int, int], layout: YoloLayout
) -> list[tuple[str, tuple[float, float, float, float]]]:
    if not is_file(file):
        return []
    found = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if words:
            name = _class_of(words[0], layout, f"{file}:{number}")
            found.append((name, box_of_line(words, size, f"{file}:{number}")))
    return found


def _class_of(word: str, layout: YoloLayout, place: str) -> str:
    number = class_of_line(word, place)
    if number not in layout.names:
        lowest, highest = min(layout.names, default=0), max(layout.names, default=0)
        raise UserError(
            f"{place}: class {cut(word)} is not in {layout.names_file}, "
            f"which has {len(layout.names)} classes ({lowest} to {highest})"
        )
    return layout.names[number]


def class_of_line(word: str, place: str) -> int:
    """Return the number of a class that a line begins with; some tools write 2 as 2.0.

    Args:
        word: the line's first word.
        place: file and line, for the message.

    Raises:
        UserError: it is no whole number.
    """
    try:
        number = float(word)
    except ValueError:
        number = nan
    if not number.is_integer():
        raise UserError(f"{place}: a line begins with the number of a class; found {shown(word)}")
    return int(number)


def box_of_line(words: list[str], size: tuple[int, int], place: str) -> tuple[float, float, float, float]:
    """Return the x y width height of a line's box.

    Args:
        words: the line's words.
        size: (height, width) of the image; with (1, 1) the box stays in fractions.
        place: file and line, for messages.

    Raises:
        UserError: there are no 4 numbers behind the class, and no polygon.
    """
    try:
        values = [float(word) for word in words[1:]]
    except ValueError:
        words_found = shown(" ".join(words[1:]))
        raise UserError(f"{place}: expected numbers after the class; found {words_found}") from None
    height, width = size
    if len(values) == 4:
        cx, cy, w, h = values
        return (cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height
    if len(values) >= 6 and len(values) % 2 == 0:
        if not all(map(isfinite, values)):
            return nan, nan, nan, nan  # min and max may pass over one
        xs, ys = values[::2], values[1::2]
        left, top = min(xs), min(ys)
        return left * width, top * height, (max(xs) - left) * width, (max(ys) - top) * height
    raise UserError(
        f"{place}: expected a class and 4 numbers (cx cy width height, as fractions of the image), "
        f"or a class and a polygon of at least 3 points; found {len(values)} numbers"
    )
