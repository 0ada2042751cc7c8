"""Survey of what labelling tools export: what is wrong is noted, and reading continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detkit.annotations.exports.read import EXPORTS, images_of_split
from detkit.annotations.exports.records import ExportedImage, ExportImages
from detkit.checks.survey import AnnotationGroup, Survey, without_file
from detkit.data.datasets.config import ExportConfig
from detkit.data.datasets.readers import type_of
from detkit.errors import UserError


def survey_exports(survey: Survey, _: Path, sets: Mapping[str, ExportConfig], everything: bool) -> None:
    """Add files of annotations to a survey.

    Args:
        survey: takes them.
        sets: the file, the folder of images and the split of each part.
        everything: makes no difference, because such a file names all of its images.
    """
    read: dict[tuple[str, str], _Reading] = {}
    for part, config in sets.items():
        survey.parts.setdefault(part, [])
        place = Path(config.annotations)
        try:
            key = config.images, config.annotations
            if key not in read:
                read[key] = _Reading(survey, config)
            survey.parts[part] += read[key].part(config.split)
        except UserError as error:
            survey.report("malformed_file", place, None, without_file(error, place))


class _Reading:
    """One file in the reading."""

    def __init__(self, survey: Survey, config: ExportConfig) -> None:
        name, self.root, self.place = type_of(type(config)), Path(config.images), Path(config.annotations)
        self.images, self.look_up = EXPORTS[name](self.place), ExportImages(self.root)
        self.survey, self.group = survey, len(survey.groups)
        survey.groups.append(AnnotationGroup(name, self.root, self.place))  # type: ignore[arg-type]  # a `type`
        self.positions: dict[int, int] = {}  # of records, by their identity: two may be of one image

    def part(self, split: str) -> list[int]:
        """Return the positions of the images of a split, each record read once."""
        files, positions = set[str](), dict[int, None]()
        for file, image in images_of_split(self.images, self.look_up, split, self.place):
            if id(image) not in self.positions:
                self.positions[id(image)] = self._read(self.root / file, image)
            position = self.positions[id(image)]
            if position in positions:
                self.survey.report("split_repeats", Path(split), file, "named more than once; once is enough")
            elif file in files:
                message = f"{file} is annotated more than once"
                self.survey.report("duplicate_file_name", image.source, file, message, images=[position])
            files.add(file)
            positions[position] = None
        return list(positions)

    def _read(self, file: Path, image: ExportedImage) -> int:
        survey = self.survey
        position = survey.add_image(file, image.source, self.group, image.size)
        for thing in image.objects:
            if thing.fault:
                survey.add_malformed(position, thing.number, f"object {thing.number}", thing.fault)
            else:
                row = survey.add_object(position, survey.label(thing.name), thing.box, thing.number)
                survey.crowd[row] = thing.crowd
        return position
