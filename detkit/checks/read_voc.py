"""Survey of VOC files: what is wrong is noted, and reading continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from detkit.annotations.image_files import IMAGE_EXTENSIONS, ImageFolders
from detkit.annotations.voc import VocFolder, find_set, voc_folders, voc_subfolders
from detkit.annotations.voc_xml import voc_object, voc_size, voc_tree
from detkit.checks.survey import AnnotationGroup, Survey, without_file
from detkit.data.datasets.config import VOCDatasetConfig
from detkit.errors import UserError, shown
from detkit.storage.regular_files import is_file


def survey_voc(survey: Survey, root: Path, sets: Mapping[str, VOCDatasetConfig], everything: bool) -> None:
    """Add VOC annotations to a survey.

    Args:
        survey: takes them.
        root: see `detkit.annotations.voc.read_voc`.
        sets: the lists of each part; none in a config names every annotation.
        everything: also read annotations, and look for images, that no part names.

    Raises:
        UserError: there is no such set.
    """
    reading = _Reading(survey, root)
    for name, config in sets.items():
        reading.part(name, config.sets)
    if everything:
        reading.rest()


class _Reading:
    """State of the reading."""

    def __init__(self, survey: Survey, root: Path) -> None:
        self.survey, self.root = survey, root
        self.folders = voc_folders(root)
        self.every_folder = self.folders or list(voc_subfolders(root).values())
        self.images: dict[Path, int] = {}
        self.opened: dict[Path, tuple[int, ImageFolders]] = {}

    def part(self, name: str, sets: Sequence[str]) -> None:
        """Read the annotations of one part."""
        positions = self.survey.parts.setdefault(name, [])
        if not sets:
            positions.extend(self.read(folder, stem) for folder, stem in self._every_file())
        for item in sets:
            wanted = find_set(self.root, item, self.folders)
            for stem, count in Counter(wanted.stems).items():
                if count > 1:
                    message = f"named {count} times; once is enough"
                    self.survey.report("split_repeats", wanted.list_file, stem, message)
                owners = (f for f in wanted.folders if is_file(f.annotations / f"{stem}.xml"))
                if (folder := next(owners, None)) is not None:
                    positions.append(self.read(folder, stem))
                    continue
                places = ", ".join(str(other.annotations) for other in wanted.folders) or "any folder"
                message = f"there is no {shown(f'{stem}.xml')} in {places}"
                self.survey.report("split_unknown_image", wanted.list_file, stem, message)

    def _every_file(self) -> list[tuple[VocFolder, str]]:
        return [(f, path.stem) for f in self.every_folder for path in sorted(f.annotations.glob("*.xml"))]

    def rest(self) -> None:
        """Read what no part names, and note images without annotation."""
        for folder, stem in self._every_file():
            self.read(folder, stem)
        known = set(self.survey.files)
        for folder in self.every_folder:
            for image in (path for place in folder.image_folders for path in sorted(place.glob("*"))):
                if image.suffix.lower() in IMAGE_EXTENSIONS and image not in known:
                    message = f"there is no {image.stem}.xml; it is not read"
                    self.survey.report("unlabelled_image", image, None, message)

    def read(self, folder: VocFolder, stem: str) -> int:
        """Read one file, once, and return the image's position."""
        source = folder.annotations / f"{stem}.xml"
        if source in self.images:
            return self.images[source]
        survey = self.survey
        if folder.annotations not in self.opened:
            self.opened[folder.annotations] = len(survey.groups), folder.images()
            survey.groups.append(AnnotationGroup("voc", self.root, folder.annotations))
        group, look_up = self.opened[folder.annotations]
        nowhere = folder.image_folders[0] / f"{stem}.jpg"
        try:
            tree = voc_tree(source)
        except UserError as error:
            file = look_up.find(stem, None) or nowhere
            image = survey.add_image(file, source, group)
            survey.annotated[image] = False
            survey.report("malformed_file", source, None, without_file(error, source), images=[image])
        else:
            file = look_up.find(stem, tree.findtext("filename")) or nowhere
            image = survey.add_image(file, source, group, voc_size(tree))
            for number, node in enumerate(tree.findall("object"), 1):
                self._object(image, node, number, source)
        self.images[source] = image
        return image

    def _object(self, image: int, node: Element, number: int, source: Path) -> None:
        try:
            thing = voc_object(node, number, source)
        except UserError as error:
            self.survey.add_malformed(image, number, f"object {number}", without_file(error, source))
        else:
            self.survey.add_object(image, self.survey.label(thing.name), thing.box, number)
