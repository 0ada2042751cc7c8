"""Reader of Pascal VOC folders: a VOCdevkit with years, one VOC folder, or XML files beside images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

from detkit.annotations.assembly import Assembly
from detkit.annotations.class_names import listed
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.exports.cvat import is_cvat
from detkit.annotations.image_files import IMAGE_EXTENSIONS, ImageFolders
from detkit.annotations.text_files import read_lines
from detkit.annotations.validity import require_boxes
from detkit.annotations.voc_xml import read_voc_xml
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file, is_folder

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "pngimages", "photos")
ANNOTATION_FOLDERS = ("annotations", "annotation", "annots", "anns", "xmls", "xml", "labels")
"""Names, in lower case, of the folders that images and XML files lie in, where they lie apart."""
_PEEKED = 3  # XML files of a folder that are looked into: one of CVAT may lie among them


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

    @property
    def image_folders(self) -> list[Path]:
        """Folders in which images are looked up, the one that is meant first.

        Where each set has a folder of XML files in that of all of them, its images may have one, too.
        """
        rank = {name: place for place, name in enumerate(IMAGE_FOLDERS)}
        inside = subfolders(self.base)
        named = [folder for folder in inside if folder.name.lower() in rank]
        named.sort(key=lambda folder: rank[folder.name.lower()])
        if self.annotations == self.base / "Annotations":
            return named or [self.base / "JPEGImages"]
        if self.annotations not in (self.base, *inside):
            return [*(folder / self.annotations.name for folder in named), *named, self.annotations]
        return [*named, self.annotations, *(() if named else (*inside, self.base))]

    def images(self) -> ImageFolders:
        """Return where images are looked up."""
        return ImageFolders(self.image_folders)

    def set_names(self) -> list[str]:
        """Return the sets on offer: one for each list file, the per-class lists left out."""
        stems = {p.stem for p in self.lists.glob("*.txt")}
        plain = [stem for stem in stems if "_" not in stem or stem.rsplit("_", 1)[1] not in stems]
        return sorted(f"{self.year}_{stem}" if self.year else stem for stem in plain)


def voc_folders(root: Path) -> list[VocFolder]:
    """Return the VOC folders under a root; empty where there is no XML file.

    A root is a VOCdevkit (VOC2007/Annotations, ...), a single VOC folder (Annotations, or another name that
    is used for it), a plain folder with XML files in it, or one with XML files in a sub-folder and the images
    in another.
    """
    years = [
        VocFolder(p, p / "Annotations", p.name[3:])
        for p in sorted(root.glob("VOC[0-9][0-9][0-9][0-9]"))
        if (p / "Annotations").is_dir()
    ]
    if years:
        return years
    inside = subfolders(root)
    for name in ANNOTATION_FOLDERS:
        for folder in inside:
            if folder.name.lower() == name and _has_xml(folder):
                return [VocFolder(root, folder, "")]
    if _has_xml(root):
        return [VocFolder(root, root, "")]
    labelled = [folder for folder in inside if _has_xml(folder)]
    if len(labelled) == 1 and not has_images(labelled[0]) and any(map(has_images, inside)):
        return [VocFolder(root, labelled[0], "")]
    return []


def voc_subfolders(root: Path) -> dict[str, VocFolder]:
    """Return the sub-folders of a root that are sets by themselves, by name.

    They have XML files beside images (train/*.xml), or apart (train/annotations, train/images), or lie in one
    folder for all XML files (annotations/train, images/train).
    """
    inside = subfolders(root)
    sets = {
        folder.name: VocFolder(root, folder, "")
        for outer in inside
        if outer.name.lower() in ANNOTATION_FOLDERS
        for folder in subfolders(outer)
        if _has_xml(folder)
    }
    others = [folder for folder in inside if folder.name.lower() not in ANNOTATION_FOLDERS]
    found = {folder.name: own[0] for folder in others if len(own := voc_folders(folder)) == 1}
    beside = {name: own for name, own in found.items() if own.annotations == own.base}
    apart = {name: own for name, own in found.items() if name not in beside and not _is_year(own.base)}
    if len(apart) < 2:  # the folder that an archive was unpacked in is not a set
        apart = {}
    return dict(sorted((sets | apart | beside).items()))


def _is_year(folder: Path) -> bool:
    return folder.match("VOC[0-9][0-9][0-9][0-9]")


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted; those whose name begins with a point are passed over."""
    if not is_folder(root):
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def has_images(folder: Path) -> bool:
    """Return whether images lie in a folder itself."""
    with suppress(OSError):
        return any(PurePath(name).suffix.lower() in IMAGE_EXTENSIONS for name in os.listdir(folder))  # noqa: PTH208
    return False


def _has_xml(folder: Path) -> bool:
    """Return whether a folder has XML files that are not CVAT's, which has one for all images."""
    return any(not is_cvat(file) for file in islice(folder.glob("*.xml"), _PEEKED))


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
        images = folders.get(folder.annotations)
        if images is None:
            images = folders[folder.annotations] = folder.images()
        source = folder.annotations / f"{stem}.xml"
        parsed = read_voc_xml(source)
        image = images.find(stem, parsed.file_name) or folder.image_folders[0] / f"{stem}.jpg"
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
        if (folder.annotations, stem) in seen:
            raise UserError(f"{root}: image {shown(stem)} is in more than one of the sets {', '.join(sets)}")
        seen.add((folder.annotations, stem))
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
    if (inner := voc_subfolders(root).get(name)) is not None:
        return VocSet([p.stem for p in sorted(inner.annotations.glob("*.xml"))], [inner], None)
    for list_file in (Path(name), root / name):
        if list_file.suffix == ".txt" and is_file(list_file):
            return VocSet(read_lines(list_file), folders, list_file)
    if not root.is_dir():
        raise UserError(f"{root}: the folder does not exist")
    offered = [s for folder in folders for s in folder.set_names()] + list(voc_subfolders(root))
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
