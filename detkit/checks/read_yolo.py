"""Survey of YOLO files: what is wrong is noted, and reading continues."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detkit.annotations.image_files import IMAGE_EXTENSIONS
from detkit.annotations.text_files import read_text
from detkit.annotations.yolo import box_of_line
from detkit.annotations.yolo_layout import YoloLayout, yolo_layout
from detkit.checks.survey import UNKNOWN, AnnotationGroup, Survey
from detkit.errors import UserError

_NOWHERE = (np.nan,) * 4


def survey_yolo(survey: Survey, root: Path, parts: dict[str, Sequence[str]], *, everything: bool) -> None:
    """Add YOLO annotations to a survey.

    Args:
        survey: takes them.
        root: see `detkit.annotations.yolo.read_yolo`.
        parts: the splits of each part.
        everything: also look for labels that belong to no image.

    Raises:
        UserError: there is no such dataset.
    """
    layout = yolo_layout(root)
    names = tuple(layout.names.values())
    for name in names:
        survey.label(name)
    group = len(survey.groups)
    survey.groups.append(AnnotationGroup("yolo", layout.base, layout.names_file, None, names))
    reading = _Reading(survey, layout, group)
    for part, splits in parts.items():
        for split in splits:
            reading.part(part, split)
    if everything:
        reading.labels_without_image()


class _Reading:
    """State of the reading."""

    def __init__(self, survey: Survey, layout: YoloLayout, group: int) -> None:
        self.survey, self.layout, self.group = survey, layout, group
        self.images: dict[Path, int] = {}
        self.labels = dict(layout.names)

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
        there = file.is_file()
        position = survey.add_image(image, file, 0, self.group, (0, 0), annotated=there)
        self.images[image] = position
        if not there:
            survey.report("unlabelled_image", image, None, f"there is no {file}; the image counts as empty")
            return position
        try:
            lines = read_text(file).splitlines()
        except UserError as error:
            survey.annotated[position] = False
            message = str(error).removeprefix(str(file)).lstrip(": ")
            survey.report("malformed_file", file, None, message, images=[position])
            return position
        for number, line in enumerate(lines, 1):
            if words := line.split():
                self._line(position, file, number, words)
        return position

    def _line(self, image: int, file: Path, number: int, words: list[str]) -> None:
        survey = self.survey
        try:
            left, top, width, height = box_of_line(words, (1, 1), "")
            label = int(float(words[0]))
        except (UserError, ValueError, OverflowError) as error:
            row = survey.add_object(image, UNKNOWN, _NOWHERE, number, number - 1, whole=False)
            message = str(error).lstrip(": ")
            if not isinstance(error, UserError):
                message = f"a line begins with the number of a class; found {words[0]!r}"
            survey.report("malformed_object", file, f"line {number}", message, objects=[row])
            return
        name = self.labels.get(label)
        box = (left + width / 2, top + height / 2, width, height)
        row = survey.add_object(
            image, UNKNOWN if name is None else survey.label(name), box, number, number - 1
        )
        if name is None:
            survey.report(
                "unknown_class", file, f"line {number}", self._unknown(label, words[0]), objects=[row]
            )

    def _unknown(self, label: int, word: str) -> str:
        known = self.labels
        lowest, highest = min(known, default=0), max(known, default=0)
        hint = "; numbers start from 0, are these counted from 1?" if label == highest + 1 else ""
        return (
            f"class {word} is not in {self.layout.names_file}, which has {len(known)} classes "
            f"({lowest} to {highest}){hint}"
        )

    def labels_without_image(self) -> None:
        """Note label files in the folders of labels that no image file belongs to."""
        used = {self.layout.label_file(image) for image in self.images}
        for folder in sorted({file.parent for file in used}):
            swapped = str(folder).rpartition(f"{os.sep}labels")
            beside = Path(f"{swapped[0]}{os.sep}images{swapped[2]}") if swapped[1] else folder
            if not beside.is_dir() or not swapped[1]:
                continue
            stems = {p.stem for p in beside.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS}
            for file in sorted(folder.glob("*.txt")):
                if file not in used and file.stem not in stems and file != self.layout.names_file:
                    message = f"there is no image {beside / file.stem} with any usual extension"
                    self.survey.report("missing_image", file, None, message)
