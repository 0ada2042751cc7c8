"""Corrected copy of a VOC dataset."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from detkit.annotations.coordinates import corners_to_voc
from detkit.annotations.voc_xml import voc_tree
from detkit.checks.fixes import Fixes
from detkit.storage.atomic import write_atomically

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def copy_voc(fixes: Fixes, root: Path, folder: Path) -> None:
    """Write annotations and lists; the images themselves are copied by the caller.

    Args:
        fixes: what is different.
        root: of the source.
        folder: of the copy.
    """
    survey, rows = fixes.checked.survey, fixes.rows_of_images()
    for image, source in enumerate(survey.sources):
        group = survey.groups[survey.group[image]]
        if group.format != "voc" or group.root != root or image in fixes.dropped_images:
            continue
        target = folder / source.relative_to(root)
        if fixes.changed(image, rows[image]):
            tree = voc_tree(source)
            _edit(tree, fixes, image, rows[image])
            write_atomically(target, ElementTree.tostring(tree, encoding="unicode") + "\n", sync=False)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    _write_lists(fixes, root, folder)


def _edit(tree: ElementTree.Element, fixes: Fixes, image: int, rows: list[int]) -> None:
    if image in fixes.sizes:
        size = tree.find("size")
        if size is None:
            size = ElementTree.SubElement(tree, "size")
        for key, value in zip(("height", "width"), fixes.sizes[image], strict=True):
            _set(size, key, str(value))
    nodes = tree.findall("object")
    for row in rows:
        node = nodes[fixes.checked.survey.places[row]]
        if row in fixes.dropped_objects:
            tree.remove(node)
        elif row in fixes.corners:
            box = node.find("bndbox")
            assert box is not None
            values = corners_to_voc(fixes.corners[row][None])[0]
            for key, value in zip(_CORNERS, np.round(values, 2).tolist(), strict=True):
                _set(box, key, f"{value:g}" if value.is_integer() else str(value))


def _set(parent: ElementTree.Element, key: str, text: str) -> None:
    child = parent.find(key)
    if child is None:
        child = ElementTree.SubElement(parent, key)
    child.text = text


def _write_lists(fixes: Fixes, root: Path, folder: Path) -> None:
    """Write ImageSets/Main/<part>.txt beside the annotations of each part's images."""
    survey = fixes.checked.survey
    for part, images in fixes.parts.items():
        stems: dict[Path, list[str]] = defaultdict(list)
        for image in images:
            group = survey.groups[survey.group[image]]
            if group.format == "voc" and group.root == root and group.place != root / part:
                stems[list_folder(group.place)].append(survey.sources[image].stem)
        for base, names in stems.items():
            file = folder / base.relative_to(root) / f"{without_year(part, base)}.txt"
            write_atomically(file, "".join(f"{name}\n" for name in names))


def list_folder(annotations: Path) -> Path:
    """Return the folder of the lists that belong to a folder of annotations."""
    base = annotations.parent if annotations.name.lower() == "annotations" else annotations
    return base / "ImageSets" / "Main"


def without_year(part: str, lists: Path) -> str:
    """Return the name of a part's list: `train` for 2007_train in the folder VOC2007."""
    return part.removeprefix(f"{lists.parent.parent.name.removeprefix('VOC')}_")
