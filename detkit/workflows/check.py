"""`detkit check`: what is wrong with a dataset, or with a config and its data, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.checks.classes import Wanted
from detkit.data.checks.dataset import Checked, check_survey
from detkit.data.checks.findings import Finding, ranked
from detkit.data.checks.survey import Survey
from detkit.errors import UserError
from detkit.runtime.cores import num_cores
from detkit.workflows.check_copy import refuse_inside, write_corrected
from detkit.workflows.check_sources import is_dataset, survey_config, survey_dataset
from detkit.workflows.progress_line import ProgressLine
from detkit.workflows.run_folder import new_folder


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
        left: errors that it still has.
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
        }


def check(target: str, overrides: Sequence[str] = (), *, fix: Path | None = None) -> Check:
    """Look for everything that is wrong with a dataset, or with a config and its data.

    Args:
        target: a VOC, COCO or YOLO dataset, or a config.
        overrides: changes to the config.
        fix: a folder for a corrected copy, new or empty; None writes none. The source is only read.

    Raises:
        UserError: there is neither a dataset nor a config, or the folder of the copy is not empty.
    """
    config = None if is_dataset(target) else load_config(target, overrides)
    if config is None and overrides:
        raise UserError(f"{overrides[0]}: {target} is a dataset; only a config has keys to change")
    survey = survey_dataset(Path(target)) if config is None else survey_config(config.data)
    if fix is not None:
        refuse_inside(fix, survey)
        new_folder(fix, "check")
    checked = _looked_at(survey, config)
    mending = None if fix is None else write_corrected(checked, fix, config)
    findings, fit = ([], None) if config is None else _learning(config, checked)
    return Check(
        findings=ranked([*checked.findings, *findings]),
        images=len(survey.files),
        objects=len(survey.owners),
        parts={name: len(images) for name, images in survey.parts.items()},
        fit=fit,
        fixed=fix,
        changes=[] if mending is None else mending.to_json(),
        left=[] if mending is None else mending.left,
    )


def _learning(config: Config, checked: Checked) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return whether the detector can learn the data; nothing where errors keep the data from being read."""
    from detkit.workflows.check_learning import check_learning  # loads torch

    try:
        return check_learning(config)
    except UserError:
        if any(finding.is_error for finding in checked.findings):
            return [], None
        raise


def _looked_at(survey: Survey, config: Config | None) -> Checked:
    progress = ProgressLine("decoding", len(set(survey.files)))
    wanted = None if config is None else Wanted(config.data.classes, config.data.ignore_classes)
    try:
        return check_survey(
            survey, wanted=wanted, everything=config is None, num_threads=num_cores(), done=progress
        )
    finally:
        progress.clear()
