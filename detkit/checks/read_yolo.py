"""Survey of YOLO files: what is wrong is noted, and reading continues."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from detkit.annotations.image_files import IMAGE_EXTENSIONS
from detkit.annotations.text_files import read_text
from detkit.annotations.yolo import box_of_line, class_of_line
from detkit.annotations.yolo_layout import YoloLayout, yolo_layout
from detkit.checks.survey import UNKNOWN, AnnotationGroup, Survey, without_file
from detkit.data.datasets.config import YOLODatasetConfig
from detkit.errors import UserError, cut
from detkit.storage.regular_files import is_file


def survey_yolo(survey: Survey, root: Path, sets: Mapping[str, YOLODatasetConfig], everything: bool) -> None:
    """Add YOLO annotations to a survey.

    Args:
        survey: takes them.
        root: see `detkit.annotations.yolo.read_yolo`.
        sets: the split of each part.
        everything: also look for labels that belong to no image.

    Raises:
        UserError: there is no such dataset.
    """
    layout = yolo_layout(root)
    names = tuple(layout.names.values())
    for name in names:
        survey.label(name)
    survey.groups.append(AnnotationGroup("yolo", layout.base, layout.names_file, names, layout.roots))
    reading = _Reading(survey, layout)
    for part, config in sets.items():
        reading.part(part, config.split)
    if everything:
        reading.labels_without_image()


class _Reading:
    """State of the reading."""

    def __init__(self, survey: Survey, layout: YoloLayout) -> None:
        self.survey, self.layout, self.group = survey, layout, len(survey.groups) - 1
        self.images: dict[Path, int] = {}

    def part(self, name: str, split: str) -> None:
        """Read the labels of one split."""
        positions = self.survey.parts.setdefault(name, [])
        try:
            images = self.layout.images(split)
        except UserError as error:
            self.survey.report("missing_split", self.layout.names_file, split, str(error))
            return
        seen: set[int] = set()
        for image in images:
            position = self.read(image)
            if position in seen:
                self.survey.report("split_repeats", image, split, f"named twice in {split}; once is enough")
            else:
                positions.append(position)
            seen.add(position)

    def read(self, image: Path) -> int:
        """Read the labels of one image, once, and return its position."""
        if image in self.images:
            return self.images[image]
        file, survey = self.layout.label_file(image), self.survey
        position = self.images[image] = survey.add_image(image, file, self.group)
        if not is_file(file):
            survey.annotated[position] = False
            survey.report("unlabelled_image", image, None, f"there is no {file}; the image counts as empty")
            return position
        try:
            lines = read_text(file).splitlines()
        except UserError as error:
            survey.annotated[position] = False
            survey.report("malformed_file", file, None, without_file(error, file), images=[position])
            return position
        for number, line in enumerate(lines, 1):
            if words := line.split():
                self._line(position, number, words)
        return position

    def _line(self, image: int, number: int, words: list[str]) -> None:
        survey, thing = self.survey, f"line {number}"
        try:
            left, top, width, height = box_of_line(words, (1, 1), "")
            label = class_of_line(words[0], "")
        except UserError as error:
            survey.add_malformed(image, number, thing, str(error).lstrip(": "))
            return
        name = self.layout.names.get(label)
        box = (left + width / 2, top + height / 2, width, height)
        row = survey.add_object(image, UNKNOWN if name is None else survey.label(name), box, number)
        if name is None:
            message = self._unknown(label, words[0])
            survey.report("unknown_class", survey.sources[image], thing, message, objects=[row])

    def _unknown(self, label: int, word: str) -> str:
        known = self.layout.names
        lowest, highest = min(known, default=0), max(known, default=0)
        hint = "; numbers start from 0, are these counted from 1?" if label == highest + 1 else ""
        return (
            f"class {cut(word)} is not in {self.layout.names_file}, which has {len(known)} classes "
            f"({lowest} to {highest}){hint}"
        )

    def labels_without_image(self) -> None:
        """Note label files in the folders of labels that no image file belongs to."""
        used = {self.layout.label_file(image) for image in self.images}
        for folder in sorted({file.parent for file in used}):
            head, labels, tail = str(folder).rpartition(f"{os.sep}labels")
            beside = Path(f"{head}{os.sep}images{tail}")
            if not labels or not beside.is_dir():
                continue
            images = (p for p in beside.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS)
            stems = {p.stem for p in images if not p.is_dir()}
            for file in sorted(folder.glob("*.txt")):
                if file not in used and file.stem not in stems and file != self.layout.names_file:
                    message = f"there is no image {beside / file.stem} with any usual extension"
                    self.survey.report("missing_image", file, None, message)
