"""Reader of ILSVRC's folders (ImageNet): XML files like VOC's, whose objects are named by WordNet's numbers.

In ROOT there are Annotations/TASK/PART, Data/TASK/PART and ImageSets/TASK/*.txt; TASK is DET or CLS-LOC. The
names of the numbers are in the development kit or beside ROOT, where they are at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from detkit.annotations.exports.records import ExportedImage
from detkit.annotations.text_files import read_lines
from detkit.annotations.voc_xml import read_voc_xml
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file, is_folder

TASKS = {"DET": "map_det.txt", "CLS-LOC": "map_clsloc.txt"}
"""The tasks, each with the development kit's list of its classes."""
PARTS = ("train", "val")
_WORDS = "LOC_synset_mapping.txt"
_ENDING = ".JPEG"
_SYNSET = re.compile(r"(?P<synset>n\d{8})\s+(\d+\s+)?(?P<words>\S.*)")
_PARTLY = "0"  # not all objects of the class that an image was searched for have a box


def ilsvrc_parts(path: Path) -> dict[str, Path]:
    """Return the folders of annotations of a task by part; empty where a path is no folder of ILSVRC's.

    Args:
        path: ROOT, ROOT/Annotations, ROOT/Annotations/TASK, or the folder of one part in it.

    Raises:
        UserError: ROOT holds both tasks, and one has to be named.
    """
    path = path.absolute()  # its own name may be a point
    if path.name in PARTS and path.parent.name in TASKS:
        return {path.name: path} if is_folder(images_of(path)) else {}
    if path.name in TASKS:
        tasks = [path]
    else:
        above = path if path.name == "Annotations" else path / "Annotations"
        tasks = [folder for name in TASKS if is_folder(folder := above / name)]
    parts = [{p: t / p for p in PARTS if is_folder(t / p) and is_folder(images_of(t / p))} for t in tasks]
    if sum(map(bool, parts)) > 1:
        raise UserError(f"{path}: two tasks of ILSVRC are in it; name one of them:", *map(str, tasks))
    return next(filter(None, parts), {})


def images_of(annotations: Path) -> Path:
    """Return the folder of the images of ROOT/Annotations/TASK/PART."""
    return annotations.parents[2] / "Data" / annotations.parent.name / annotations.name


def read_ilsvrc(annotations: Path) -> list[ExportedImage]:
    """Return the images of a part; one that is listed and has no XML file has no objects.

    For DET's training images there is a list a class. An image of which one of them says that not all of the
    objects have a box is left out. Coordinates count from 0, and the last pixel belongs to the box.

    Args:
        annotations: ROOT/Annotations/TASK/PART.

    Raises:
        UserError: the folder is not there or lies otherwise, a list names what is no image, or an XML file
            cannot be read.
    """
    task = annotations.parent.name
    if not is_folder(annotations) or task not in TASKS:
        raise UserError(
            f"{annotations}: wanted is a folder ROOT/Annotations/TASK/PART, such as "
            "ILSVRC/Annotations/DET/val; TASK must be DET or CLS-LOC"
        )
    words = class_words(annotations.parents[2], task)
    return [_image(annotations, name, words) for name in _names(annotations)]


def class_words(root: Path, task: str) -> dict[str, str]:
    """Return what each class is called by its number; empty where no file says it.

    Of several words the first is taken; classes that share it have their numbers behind it.

    Args:
        root: ROOT.
        task: DET or CLS-LOC.

    Raises:
        UserError: a line of the file is none of its.
    """
    kit = TASKS[task]
    places = [root / "devkit" / "data" / kit, root / kit, root.parent / "devkit" / "data" / kit]
    if task == "CLS-LOC":
        places = [root.parent / _WORDS, root / _WORDS, *places]
    file = next(filter(is_file, places), None)
    words: dict[str, str] = {}
    for number, line in enumerate(read_lines(file) if file else [], 1):
        found = _SYNSET.fullmatch(line)
        if found is None:
            raise UserError(
                f"{file}, line {number}: wanted is a number of WordNet's and words, n02672831 accordion; "
                f"found {shown(line)}"
            )
        words[found["synset"]] = found["words"].partition(",")[0].replace("_", " ").strip()
    shared = Counter(words.values())
    return {n: f"{word} ({n})" if shared[word] > 1 else word for n, word in words.items()}


def _names(annotations: Path) -> list[str]:
    """Return the names of the images of a part, each with the folders that it lies in."""
    lists, part = annotations.parents[2] / "ImageSets" / annotations.parent.name, annotations.name
    by_class = lists.glob(f"{part}_*.txt")
    files = [lists / f"{part}.txt", lists / f"{part}_loc.txt"]
    files = [file for file in files if is_file(file)][:1] or sorted(
        file for file in by_class if file.stem.removeprefix(f"{part}_").isdecimal()
    )
    if not files:
        return [str(p.relative_to(annotations).with_suffix("")) for p in sorted(annotations.rglob("*.xml"))]
    names: dict[str, None] = {}
    partly = set[str]()
    for file in files:
        for name, mark in _lines(file):
            names[name] = None
            if len(files) > 1 and mark == _PARTLY:
                partly.add(name)
    found = [name for name in names if name not in partly]
    if not found:
        raise UserError(
            f"{files[0]}: neither it nor another list of {part} names an image with all its objects"
        )
    return found


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    for line in read_lines(file):
        name, _, mark = line.rpartition(" ")
        if not name or not mark.removeprefix("-").isdecimal():
            name, mark = line, ""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise UserError(f"{file}: {shown(name)} is no name of an image below the folder of its part")
        yield name.strip(), mark


def _image(annotations: Path, name: str, words: dict[str, str]) -> ExportedImage:
    source = annotations / f"{name}.xml"
    if not is_file(source):
        return ExportedImage(name + _ENDING, source)
    read = read_voc_xml(source)
    image = ExportedImage(name + _ENDING, source, read.size)
    for number, thing in enumerate(read.objects, 1):
        x1, y1, x2, y2 = thing.box
        height, width = read.size
        # Some files count to the side of the image instead of its last pixel.
        x2, y2 = (last if last == side else last + 1 for last, side in ((x2, width), (y2, height)))
        box = x1, y1, x2 - x1, y2 - y1
        image.add(number, words.get(thing.name, thing.name), box, difficult=thing.difficult)
    return image
