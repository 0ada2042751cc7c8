"""`detkit check`: what is wrong with a dataset, or with a config and its data, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.annotations.exports.read import EXPORTS
from detkit.checks.corrected_copy import below, export_copy, list_folder, without_year, write_copy
from detkit.checks.doctor import Checked, check_survey
from detkit.checks.findings import Finding, ranked
from detkit.checks.fixes import Fixes
from detkit.checks.sources import is_dataset, survey_config, survey_dataset
from detkit.checks.survey import Survey
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.split_leaks import Leaks, remember_leaks
from detkit.errors import UserError
from detkit.runtime.cores import num_cores
from detkit.runtime.progress import ProgressLine
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import key_of
from detkit.storage.run_folder import CONFIG, clear, results_folder


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        findings: worst first.
        images: how many were looked at.
        objects: how many.
        parts: images of each part.
        fit: how anchors or proposals fit the objects; None without a config, or where it cannot be measured.
        fixed: the folder of the corrected copy; None where none was asked for.
        changes: what is different in it.
        left: errors that remain: of the corrected copy where there is one, otherwise all.
    """

    findings: list[Finding]
    images: int
    objects: int
    parts: dict[str, int]
    fit: dict[str, Any] | None = None
    fixed: Path | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """Those that stop a training or make it learn something wrong."""
        return [finding for finding in self.findings if finding.is_error]

    @property
    def warnings(self) -> list[Finding]:
        """Those that may be intended."""
        return [finding for finding in self.findings if not finding.is_error]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "errors": [finding.to_json() for finding in self.errors],
            "warnings": [finding.to_json() for finding in self.warnings],
            "images": self.images,
            "objects": self.objects,
            "parts": self.parts,
            "fit": self.fit,
            "fixed": None if self.fixed is None else str(self.fixed),
            "changes": self.changes,
            "left": [finding.to_json() for finding in self.left],
        }


def check(target: str | Path, overrides: Sequence[str] = (), *, fix: str | Path | None = None) -> Check:
    """Look for everything that is wrong with a dataset, or with a config and its data.

    Args:
        target: a dataset, or a config.
        overrides: changes to the config.
        fix: a folder for a corrected copy, new or empty, or with what the same call left when it was stopped:
            it is made anew; None writes none. The source is only read.

    Raises:
        UserError: there is neither a dataset nor a config, or the folder of the copy is not empty.
    """
    target, fix = str(target), None if fix is None else Path(fix)
    config = None if is_dataset(target) else load_config(target, overrides)
    if config is None and overrides:
        raise UserError(f"{overrides[0]}: {target} is a dataset; only a config has keys to change")
    survey = survey_dataset(Path(target)) if config is None else survey_config(config.data)
    if fix and any(fix.absolute().is_relative_to(group.root.absolute()) for group in survey.groups):
        raise UserError(
            f"--fix {fix}: lies in the dataset itself, which is only read; name a folder elsewhere"
        )
    checked, fixes = _fixed(survey, config, fix, key_of("check", str(Path(target).absolute()), overrides))
    if config is not None:
        _note_leaks(checked)
    learning, fit = ([], None) if config is None else _training(config, checked)
    left = checked.findings if fixes is None else fixes.left
    return Check(
        findings=ranked([*checked.findings, *learning]),
        images=len(survey.files),
        objects=len(survey.owners),
        parts={name: len(images) for name, images in survey.parts.items()},
        fit=fit,
        fixed=fix,
        changes=[] if fixes is None else fixes.to_json(),
        left=[finding for finding in [*left, *learning] if finding.is_error],
    )


def _training(config: Config, checked: Checked) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return whether the detector can be trained; nothing where errors keep the data from being read."""
    from detkit.runs.learning import check_learning  # loads torch

    try:
        return check_learning(config)
    except UserError:
        if any(finding.is_error for finding in checked.findings):
            return [], None
        raise


def _looked_at(survey: Survey, config: Config | None) -> Checked:
    wanted = None if config is None else config.data
    with ProgressLine("decoding", len(set(survey.files))) as progress:
        return check_survey(
            survey, wanted=wanted, everything=config is None, num_threads=num_cores(), done=progress
        )


def _fixed(
    survey: Survey, config: Config | None, folder: Path | None, work: str
) -> tuple[Checked, Fixes | None]:
    """Check a survey, and write a corrected copy where a folder for it is given."""
    if folder is None:
        return _looked_at(survey, config), None
    with results_folder(folder, "check", work):
        clear(folder)
        checked = _looked_at(survey, config)
        return checked, _write_corrected(checked, folder, config)


def _note_leaks(checked: Checked) -> None:
    """Keep what training and validation share for `train`, which says it again."""
    survey = checked.survey
    paths = {part: [str(survey.files[image]) for image in images] for part, images in survey.parts.items()}
    pairs = ("leaked_image", "similar_across_splits", "split_overlap")
    leaks = Leaks(
        sum(finding.kind in pairs for finding in checked.findings),
        sum(finding.kind == "shared_film" for finding in checked.findings),
    )
    remember_leaks(paths.get("train", ()), paths.get("val", ()), leaks)


def _write_corrected(checked: Checked, folder: Path, config: Config | None) -> Fixes:
    """Write a corrected copy; with a config also `config.yaml`, which is the config for the copy."""
    fixes = Fixes.of(checked)
    places = write_copy(fixes, folder)
    if config is not None and places:
        values = config.model_dump()
        for part in ("train", "val"):
            spec = values["data"][part]
            if spec is not None and part in fixes.parts:
                places_of = _paths(spec, part, fixes, places)
                kept = {
                    key: value for key, value in spec.items() if key != "split" or "type" not in places_of
                }
                values["data"][part] = kept | places_of
        write_atomically(folder / CONFIG, dump_config(Config.model_validate(values), comments=True))
    return fixes


def _paths(
    spec: Mapping[str, Any], part: str, fixes: Fixes, places: Mapping[tuple[str, Path], Path]
) -> dict[str, Any]:
    """Return the keys of a dataset that are others in the copy."""
    survey = fixes.checked.survey
    if spec["type"] == "coco":
        root, place = next((root, place) for (kind, root), place in places.items() if kind == "coco")
        return {
            key: str((place / below(Path(spec[key]), root)).absolute()) for key in ("images", "annotations")
        }
    used = [survey.groups[survey.group[image]] for image in survey.parts[part]]
    roots = [group.root for group in used if group.format == spec["type"]]
    if not roots:  # nothing of the part is in the copy
        return {}
    place = places[spec["type"], roots[0]].absolute()
    if spec["type"] in EXPORTS:
        copied = str(export_copy(place, part).absolute())
        return {"type": "coco", "images": str(place), "annotations": copied}
    if spec["type"] == "yolo":
        return {"root": str(place), "split": part}
    lists = sorted({list_folder(group.place) for group in used})
    names = [_set_name(part, folder) for folder in lists]
    return {"root": str(place), "sets": tuple(names)}


def _set_name(part: str, lists: Path) -> str:
    """Return what a part's list is called in a config: with the year where its folder has one."""
    year = lists.parent.parent.name.removeprefix("VOC")
    name = without_year(part, lists)
    return f"{year}_{name}" if lists.parent.parent.name == f"VOC{year}" and year.isdigit() else name
