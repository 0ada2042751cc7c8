"""The corrected copy of what `detkit check` was pointed at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.checks.corrected_copy import write_copy
from detkit.checks.dataset import Checked
from detkit.checks.fix_voc import list_folder, without_year
from detkit.checks.fixes import Mending, below
from detkit.checks.survey import Survey
from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.storage.atomic_files import write_atomically
from detkit.storage.run_folder import CONFIG


def refuse_inside(folder: Path, survey: Survey) -> None:
    """Refuse a folder for a copy that lies in the source.

    Raises:
        UserError: it does.
    """
    for origin in survey.origins:
        if folder.absolute().is_relative_to(origin.root.absolute()):
            raise UserError(
                f"--fix {folder}: lies in the dataset itself, which is only read; name a folder elsewhere"
            )


def write_corrected(checked: Checked, folder: Path, config: Config | None) -> Mending:
    """Write a corrected copy; with a config also `config.yaml`, which is the config for the copy.

    Args:
        checked: the dataset and what is wrong with it.
        folder: an empty folder.
        config: the config whose data it is, where there is one.
    """
    mending = Mending.of(checked)
    places = write_copy(mending, folder)
    if config is not None and places:
        write_atomically(folder / CONFIG, dump_config(_moved(config, mending, places), comments=True))
    return mending


def _moved(config: Config, mending: Mending, places: Mapping[tuple[str, Path], Path]) -> Config:
    """Return the config with the paths of the copy."""
    values = config.model_dump()
    for part in ("train", "val"):
        spec = values["data"][part]
        if spec is not None and part in mending.parts:
            spec.update(_paths(spec, part, mending, places))
    return Config.model_validate(values)


def _paths(
    spec: Mapping[str, Any], part: str, mending: Mending, places: Mapping[tuple[str, Path], Path]
) -> dict[str, Any]:
    """Return the keys of a dataset that are others in the copy."""
    survey = mending.checked.survey
    if spec["type"] == "coco":
        root, place = next((root, place) for (kind, root), place in places.items() if kind == "coco")
        return {
            key: str((place / below(Path(spec[key]), root)).absolute()) for key in ("images", "annotations")
        }
    used = [survey.origins[survey.origin[image]] for image in survey.parts[part]]
    root = next(origin.root for origin in used if origin.format == spec["type"])
    place = places[spec["type"], root].absolute()
    if spec["type"] == "yolo":
        return {"root": str(place), "split": part}
    lists = sorted({list_folder(origin.place) for origin in used})
    names = [_set_name(part, folder) for folder in lists]
    return {"root": str(place), "sets": tuple(names)}


def _set_name(part: str, lists: Path) -> str:
    """Return what a part's list is called in a config: with the year where its folder has one."""
    year = lists.parent.parent.name.removeprefix("VOC")
    name = without_year(part, lists)
    return f"{year}_{name}" if lists.parent.parent.name == f"VOC{year}" and year.isdigit() else name
