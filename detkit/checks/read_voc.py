"""Survey of VOC files: what is wrong is noted, and reading continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detkit.annotations.image_files import IMAGE_EXTENSIONS, ImageFolders
from detkit.annotations.voc import IMAGE_FOLDERS, VocFolder, find_set, voc_folders, voc_subfolders
from detkit.annotations.voc_xml import voc_object, voc_size, voc_tree
from detkit.checks.survey import UNKNOWN, AnnotationGroup, Survey
from detkit.errors import UserError

_NOWHERE = (np.nan,) * 4


def survey_voc(survey: Survey, root: Path, parts: dict[str, Sequence[str]], *, everything: bool) -> None:
    """Add VOC annotations to a survey.

    Args:
        survey: takes them.
        root: see `detkit.annotations.voc.read_voc`.
        parts: sets of each part; none names every annotation.
        everything: also read annotations, and look for images, that no part names.

    Raises:
        UserError: there is no such set.
    """
    reading = _Reading(survey, root)
    for name, sets in parts.items():
        reading.part(name, sets)
    if everything:
        reading.rest()


@dataclass
class _Reading:
    """State of the reading."""

    survey: Survey
    root: Path
    images: dict[Path, int] = field(default_factory=dict)
    groups: dict[Path, int] = field(default_factory=dict)
    looked_up: dict[Path, ImageFolders] = field(default_factory=dict)

    def part(self, name: str, sets: Sequence[str]) -> None:
        """Read the annotations of one part."""
        folders = voc_folders(self.root)
        if not sets:
            self._all(name, folders or [_subfolder(self.root, n) for n in voc_subfolders(self.root)])
            return
        positions = self.survey.parts.setdefault(name, [])
        for item in sets:
            wanted = find_set(self.root, item, folders)
            counts = Counter(wanted.stems)
            for stem, count in counts.items():
                folder = _owner(wanted.folders, stem)
                if count > 1:
                    self.survey.report(
                        "split_repeats", wanted.list_file, stem, f"named {count} times; once is enough"
                    )
                if folder is not None:
                    positions.append(self.read(folder, stem))
                    continue
                places = ", ".join(str(other.annotations) for other in wanted.folders) or "any folder"
                self.survey.report(
                    "split_unknown_image", wanted.list_file, stem, f"there is no {stem}.xml in {places}"
                )

    def _all(self, name: str, folders: list[VocFolder]) -> None:
        self.survey.parts.setdefault(name, []).extend(
            self.read(folder, path.stem)
            for folder in folders
            for path in sorted(folder.annotations.glob("*.xml"))
        )

    def rest(self) -> None:
        """Read what no part names, and note images without annotation."""
        folders = voc_folders(self.root) or [_subfolder(self.root, n) for n in voc_subfolders(self.root)]
        for folder in folders:
            stems = sorted(path.stem for path in folder.annotations.glob("*.xml"))
            for stem in stems:
                self.read(folder, stem)
            known = {self.survey.files[self.images[folder.annotations / f"{stem}.xml"]] for stem in stems}
            for name in IMAGE_FOLDERS:
                for image in sorted((folder.base / name).glob("*")):
                    if image.suffix.lower() in IMAGE_EXTENSIONS and image not in known:
                        self.survey.report(
                            "unlabelled_image", image, None, f"there is no {image.stem}.xml; it is not read"
                        )

    def read(self, folder: VocFolder, stem: str) -> int:
        """Read one file, once, and return the image's position."""
        source = folder.annotations / f"{stem}.xml"
        if source in self.images:
            return self.images[source]
        survey = self.survey
        if folder.base not in self.looked_up:
            self.looked_up[folder.base] = folder.images()
            self.groups[folder.base] = len(survey.groups)
            survey.groups.append(
                AnnotationGroup("voc", self.root, folder.annotations, folder.base / IMAGE_FOLDERS[0])
            )
        look_up, group = self.looked_up[folder.base], self.groups[folder.base]
        nowhere = folder.base / IMAGE_FOLDERS[0] / f"{stem}.jpg"
        try:
            tree = voc_tree(source)
        except UserError as error:
            file = look_up.find(stem, None) or nowhere
            image = survey.add_image(file, source, 0, group, (0, 0), annotated=False)
            survey.report("malformed_file", source, None, _without(str(error), source), images=[image])
        else:
            file = look_up.find(stem, tree.findtext("filename")) or nowhere
            image = survey.add_image(file, source, 0, group, voc_size(tree))
            for number, node in enumerate(tree.findall("object"), 1):
                self._object(image, node, number, source)
        self.images[source] = image
        return image

    def _object(self, image: int, node: object, number: int, source: Path) -> None:
        survey = self.survey
        try:
            thing = voc_object(node, number, source)  # type: ignore[arg-type]
        except UserError as error:
            row = survey.add_object(image, UNKNOWN, _NOWHERE, number, number - 1, whole=False)
            sentence = _without(str(error), source)
            survey.report("malformed_object", source, f"object {number}", sentence, objects=[row])
        else:
            survey.add_object(image, survey.label(thing.name), thing.box, number, number - 1)


def _owner(folders: list[VocFolder], stem: str) -> VocFolder | None:
    return next((folder for folder in folders if (folder.annotations / f"{stem}.xml").is_file()), None)


def _subfolder(root: Path, name: str) -> VocFolder:
    return VocFolder(root / name, root / name, "")


def _without(message: str, file: Path) -> str:
    """Return a message without the file's name, which is told apart."""
    return message.removeprefix(str(file)).lstrip(": ")
