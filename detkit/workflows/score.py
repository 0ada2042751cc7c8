"""`detkit score`: evaluate result files by the official rules, without a model."""

from __future__ import annotations

from pathlib import Path

from detkit.annotations.coco import read_coco
from detkit.annotations.coco_results import read_coco_results
from detkit.annotations.comp4 import read_comp4
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.voc import read_voc
from detkit.errors import UserError
from detkit.evaluation.measure import Measured, Metric, measure
from detkit.report.analysis import zero_notes
from detkit.runtime.progress import say


def score(truth: str | Path, found: str | Path, metric: Metric) -> Measured:
    """Evaluate the detections in result files, and say on stderr why an AP is zero or missing.

    Args:
        truth: a COCO annotations file, or a folder of VOC annotations.
        found: a COCO results file, or a folder of comp4_det_*.txt files.
        metric: voc07, voc10, coco, ilsvrc or miss_rate.

    Raises:
        UserError: a file is missing or malformed, or the detections are of other images or classes.
    """
    annotations, detections = _read(Path(truth), Path(found))
    measured = measure(annotations, detections, metric)
    say(*zero_notes(annotations, detections, *measured.quality))
    return measured


def _read(truth: Path, found: Path) -> tuple[AnnotationSet, DetectionSet]:
    """Return annotations and the detections that belong to them."""
    _require(truth)
    annotations = read_voc(truth) if truth.is_dir() else read_coco(truth.parent, truth)
    _require(found)
    read = read_comp4 if found.is_dir() or found.suffix == ".txt" else read_coco_results
    return annotations, read(found, annotations)


def _require(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
