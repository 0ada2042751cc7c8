"""`detkit report`: write the report of a finished run again, from the files in its folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.data.datasets.builder import open_training_set
from detkit.errors import UserError
from detkit.evaluation.measure import Measured, measure
from detkit.report.content import Picture
from detkit.report.evaluation_page import write_page
from detkit.report.filters import filter_pictures
from detkit.runs.predictor import load_detector
from detkit.runs.results import FinishedRun, evaluated_run, read_run
from detkit.runs.resume import without_skipped
from detkit.storage.run_folder import METRICS, MODEL, REPORT


@dataclass(frozen=True)
class WrittenReport:
    """The result of `report`.

    Attributes:
        file: the page.
        measured: the numbers on it.
    """

    file: Path
    measured: Measured

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {"report": str(self.file), **self.measured.to_json()}


def report(folder: str | Path, *, allow_custom: bool = False) -> WrittenReport:
    """Evaluate what a run found once more and replace its report.html; nothing is trained or detected.

    Args:
        folder: a training's or an evaluation's, with config.yaml and detections.json; the curves of the
            training are drawn where there is a metrics.jsonl.
        allow_custom: let the config run code that it names (`type: custom`); what runs is said.

    Raises:
        UserError: it is not the folder of a finished run, or the dataset is not where the config says.
    """
    folder = Path(folder)
    run = read_run(folder, allow_custom=allow_custom)
    measured = measure(
        run.source.annotations, run.found, run.config.evaluate.metric, run.config.evaluate.oks_sigmas
    )
    metrics, file = folder / METRICS, folder / REPORT
    trained_on = None
    if metrics.is_file():
        trained_on = open_training_set(run.config.data, without_skipped(folder))[0].annotations
    filters = _filters(folder, run, allow_custom=allow_custom)
    evaluated = evaluated_run(folder, run.config, run.source, run.found, measured, None, filters)
    write_page(file, evaluated, metrics, trained_on)
    return WrittenReport(file, measured)


def _filters(folder: Path, run: FinishedRun, *, allow_custom: bool) -> list[Picture]:
    """Return pictures of the filters of the model in a training's folder; an evaluation's has none."""
    if (folder / MODEL).is_file():
        with suppress(UserError):  # its code may not run: the page goes without
            loaded = load_detector(folder, allow_custom=allow_custom, own=run.config.detector)
            return filter_pictures(loaded.model, loaded.classes)
    return []
