"""Reader of Pascal VOC folders: a VOCdevkit with years, one VOC folder, or XML files beside images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.annotations.assembly import Assembly
from detkit.annotations.class_names import listed
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import ImageFolders
from detkit.annotations.text_files import read_lines
from detkit.annotations.validity import require_boxes
from detkit.annotations.voc_xml import read_voc_xml
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file

IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
"""Folders that the images of a VOC folder may lie in."""


@dataclass(frozen=True)
class VocFolder:
    """One folder of annotations, with its images and its list files.

    Attributes:
        base: the folder that holds everything.
        annotations: the folder of the XML files.
        year: "2007" within a VOCdevkit, otherwise empty.
    """

    base: Path
    annotations: Path
    year: str

    @property
    def lists(self) -> Path:
        """Folder of the text files that name the images of each set."""
        return self.base / "ImageSets" / "Main"

    def images(self) -> ImageFolders:
        """Return where images are looked up."""
        beside = [] if self.annotations == self.base / "Annotations" else [self.annotations]
        return ImageFolders([self.base / name for name in IMAGE_FOLDERS] + beside)

    def set_names(self) -> list[str]:
        """Return the sets on offer: one for each list file, the per-class lists left out."""
        stems = {p.stem for p in self.lists.glob("*.txt")}
        plain = [stem for stem in stems if "_" not in stem or stem.rsplit("_", 1)[1] not in stems]
        return sorted(f"{self.year}_{stem}" if self.year else stem for stem in plain)


def voc_folders(root: Path) -> list[VocFolder]:
    """Return the VOC folders under a root; empty where there is no XML file.

    A root is a VOCdevkit (VOC2007/Annotations, ...), a single VOC folder (Annotations), or a plain
    folder with XML files in it.
    """
    years = [
        VocFolder(p, p / "Annotations", p.name[3:])
        for p in sorted(root.glob("VOC[0-9][0-9][0-9][0-9]"))
        if (p / "Annotations").is_dir()
    ]
    if years:
        return years
    for name in ("Annotations", "annotations"):
        if (root / name).is_dir() and next((root / name).glob("*.xml"), None):
            return [VocFolder(root, root / name, "")]
    return [VocFolder(root, root, "")] if next(root.glob("*.xml"), None) else []


def voc_subfolders(root: Path) -> list[str]:
    """Return the sub-folders of a plain root that are sets by themselves (train/*.xml, val/*.xml)."""
    if not root.is_dir():
        return []
    folders = [p for p in root.iterdir() if p.is_dir() and p.name.lower() != "annotations"]
    return sorted(p.name for p in folders if next(p.glob("*.xml"), None))


def read_voc(
    root: str | Path,
    sets: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = (),
) -> AnnotationSet:
    """Read VOC annotations; image files are named, not opened (see `require_images`).

    Args:
        root: a VOCdevkit, one VOC folder, or a folder of XML files with images beside them or in
            JPEGImages or images.
        sets: which images: "2007_trainval" in a VOCdevkit; "train" in one VOC folder (the file
            ImageSets/Main/train.txt) or for a sub-folder of XML files; or the path of a text file with one
            image name a line, from the working directory or from root. Empty: every XML file, sorted.
        classes: class names in label order; None takes those found, sorted.
        ignore_classes: names whose objects are left out; their images are kept.

    Raises:
        UserError: a set, a file, or an object's class is not there or is malformed; see also `require_boxes`.
    """
    root = Path(root)
    listed = _listed(root, list(sets))
    assembly = Assembly("voc")
    folders: dict[Path, ImageFolders] = {}
    for folder, stem in listed:
        images = folders.get(folder.base)
        if images is None:
            images = folders[folder.base] = folder.images()
        source = folder.annotations / f"{stem}.xml"
        parsed = read_voc_xml(source)
        image = images.find(stem, parsed.file_name) or folder.base / "JPEGImages" / f"{stem}.jpg"
        assembly.add_image(os.path.relpath(image, root), parsed.size, str(source))
        for thing in parsed.objects:
            assembly.add_object(thing.name, thing.box, thing.difficult)
    kept = sorted(set(assembly.names()) - set(ignore_classes)) if classes is None else list(classes)
    labels = assembly.labels(kept, ignore_classes)
    return require_boxes(assembly.build(str(root), kept, labels, range(1, len(kept) + 1)))


def _listed(root: Path, sets: list[str]) -> list[tuple[VocFolder, str]]:
    """Return (folder, name) of every annotation file wanted, in list order."""
    folders = voc_folders(root)
    if not sets:
        found = [(f, p.stem) for f in folders for p in sorted(f.annotations.glob("*.xml"))]
        if not found:
            raise UserError(f"{root}: no XML files here or in Annotations/; {contents_of(root)}")
        return found
    listed = [item for name in sets for item in _one_set(root, name, folders)]
    seen: set[tuple[Path, str]] = set()
    for folder, stem in listed:
        if (folder.base, stem) in seen:
            raise UserError(f"{root}: image {shown(stem)} is in more than one of the sets {', '.join(sets)}")
        seen.add((folder.base, stem))
    if not listed:
        raise UserError(f"{root}: the sets {', '.join(sets)} name no image")
    return listed


def _one_set(root: Path, name: str, folders: list[VocFolder]) -> list[tuple[VocFolder, str]]:
    named = find_set(root, name, folders)
    if named.list_file is None:
        return [(named.folders[0], stem) for stem in named.stems]
    return [_owner(folders, stem, named.list_file) for stem in named.stems]


@dataclass(frozen=True)
class VocSet:
    """The images that a set names.

    Attributes:
        stems: names of the images, in order.
        folders: where their annotations may be.
        list_file: the file that names them; None for a folder of XML files.
    """

    stems: list[str]
    folders: list[VocFolder]
    list_file: Path | None


def find_set(root: Path, name: str, folders: list[VocFolder]) -> VocSet:
    """Return what a set of `read_voc` names, whether it is there or not.

    Args:
        root: see `read_voc`.
        name: the set.
        folders: of the root.

    Raises:
        UserError: there is no such set.
    """
    for folder in folders:
        split = name.removeprefix(f"{folder.year}_") if folder.year else name
        list_file = folder.lists / f"{split}.txt"
        if (not folder.year or split != name) and is_file(list_file):
            return VocSet(read_lines(list_file), [folder], list_file)
    if name in voc_subfolders(root):
        folder = VocFolder(root / name, root / name, "")
        return VocSet([p.stem for p in sorted(folder.annotations.glob("*.xml"))], [folder], None)
    for list_file in (Path(name), root / name):
        if list_file.suffix == ".txt" and is_file(list_file):
            return VocSet(read_lines(list_file), folders, list_file)
    offered = [s for folder in folders for s in folder.set_names()] + voc_subfolders(root)
    raise UserError(
        f"{root}: no set {shown(name)}; it may be one of: {listed(offered)}; "
        f"or the path of a text file with one image name a line"
    )


def _owner(folders: list[VocFolder], stem: str, list_file: Path) -> tuple[VocFolder, str]:
    for folder in folders:
        if is_file(folder.annotations / f"{stem}.xml"):
            return folder, stem
    places = ", ".join(str(folder.annotations) for folder in folders) or "any folder"
    raise UserError(f"{list_file}: there is no {shown(f'{stem}.xml')} in {places}")


def contents_of(root: Path) -> str:
    """Return what a folder holds, for a message that misses something in it."""
    if not root.is_dir():
        return "the folder does not exist"
    names = sorted(p.name for p in root.iterdir())
    if not names:
        return "the folder is empty"
    return f"it holds {listed(names, 8)}"
