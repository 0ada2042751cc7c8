"""Results of an evaluation in a run folder, detections, comp4 files and the report: written and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detkit.annotations.coco_results import read_coco_results, write_coco_results
from detkit.annotations.comp4 import write_comp4
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.source import Source
from detkit.errors import UserError
from detkit.evaluation.measure import Measured
from detkit.report.analysis import zero_notes
from detkit.report.content import Picture
from detkit.report.evaluation_page import EvaluatedRun, write_page
from detkit.runs.resume import made_with, without_skipped
from detkit.runtime.progress import say
from detkit.spec import Origin
from detkit.storage.run_folder import CONFIG, DETECTIONS, REPORT, require_finished


def evaluated_run(
    folder: Path,
    config: Config,
    source: Source,
    found: DetectionSet,
    measured: Measured,
    seconds: float | None,
    filters: Sequence[Picture] = (),
) -> EvaluatedRun:
    """Return an evaluation with all that its report shows, and with what is noted in its folder.

    Args:
        folder: of the run.
        config: the resolved config.
        source: the images that it was evaluated on.
        found: what was detected.
        measured: the numbers.
        seconds: an image took; None where nothing was detected now.
        filters: pictures of the model's filters.
    """
    return EvaluatedRun(
        title=folder.resolve().name,
        subtitle=f"{config.detector.summary}, evaluated on {source.annotations.root}",
        truth=source.annotations,
        found=found,
        measured=measured,
        pixels=source.pixels,
        config_yaml=dump_config(config),
        seconds_per_image=seconds,
        filters=tuple(filters),
        made_with=made_with(folder),
    )


def write_results(
    folder: Path,
    evaluated: EvaluatedRun,
    metrics: Path | None = None,
    trained_on: AnnotationSet | None = None,
) -> None:
    """Write detections.json, report.html and, for VOC's metrics, comp4 files, and say why an AP is zero.

    Args:
        folder: where they go.
        evaluated: the evaluation.
        metrics: metrics.jsonl of the training.
        trained_on: the annotations that it was trained on.
    """
    write_coco_results(folder / DETECTIONS, evaluated.found, evaluated.truth)
    if evaluated.measured.metric in ("voc07", "voc10") and evaluated.truth.box_format == "voc":
        write_comp4(folder / "comp4", evaluated.found, evaluated.truth)
    write_page(folder / REPORT, evaluated, metrics, trained_on)
    if evaluated.measured.accuracy is None:
        say(*zero_notes(evaluated.truth, evaluated.found, *evaluated.measured.quality))


def require_known_classes(classes: tuple[str, ...], wanted: tuple[str, ...], weights: Path) -> None:
    """Check that a model knows all classes of a config or its annotations; it may know others.

    Raises:
        UserError: it does not; the message names both.
    """
    if not set(wanted) <= set(classes):
        require_same_classes(classes, wanted, weights)


def relabelled(found: DetectionSet, classes: tuple[str, ...], wanted: tuple[str, ...]) -> DetectionSet:
    """Return the detections of some of a model's classes, with labels that point into these.

    Args:
        found: labels point into `classes`.
        classes: the model's.
        wanted: some of them, in any order.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> _, found = two_images()
        >>> found.labels.tolist(), relabelled(found, ("cat", "dog"), ("dog",)).labels.tolist()
        ([0, 1, 1, 1], [0, 0, 0])
    """
    places = np.array([wanted.index(name) if name in wanted else -1 for name in classes], np.int32)
    labels = places[found.labels]
    return replace(found, labels=labels).of(labels >= 0)


def require_same_classes(classes: tuple[str, ...], wanted: tuple[str, ...], weights: Path) -> None:
    """Check that a model's classes are those of a config or its annotations, in the same order.

    Raises:
        UserError: they differ; the message names both.
    """
    if classes == wanted:
        return
    raise UserError(
        f"{weights}: the model's classes are not those of the config:",
        f"  model:  {', '.join(classes)}",
        f"  config: {', '.join(wanted)}",
        "Write the model's classes, in its order, into data.classes (and those it does not know into "
        "data.ignore_classes), or fine-tune the model to yours: detkit train CONFIG --from WEIGHTS",
    )


@dataclass(frozen=True)
class FinishedRun:
    """A training or an evaluation, read back from its folder.

    Attributes:
        folder: where it is.
        config: what it was made with.
        source: the images that it was evaluated on.
        found: what it found in them.
    """

    folder: Path
    config: Config
    source: Source
    found: DetectionSet


def read_run(folder: Path, *, allow_custom: bool = False) -> FinishedRun:
    """Read what `detkit train` or `detkit eval` left in a folder, and the images it was evaluated on.

    Args:
        folder: holds config.yaml and detections.json.
        allow_custom: let the config run code that it names (`type: custom`); what runs is said.

    Raises:
        UserError: a file is missing or damaged, the dataset is not where the config says, or the config names
            code that may not run.
    """
    require_finished(folder)
    origin = Origin(folder / CONFIG, is_own=False, allowed=allow_custom)
    config = load_config(folder / CONFIG, origin=origin)
    source = open_validation_set(config.data, without_skipped(folder))
    return FinishedRun(folder, config, source, read_coco_results(folder / DETECTIONS, source.annotations))
