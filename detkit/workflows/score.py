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


def score(truth: Path, found: Path, metric: Metric) -> Measured:
    """Evaluate the detections in result files, and say on stderr why an AP is zero or missing.

    Args:
        truth: a COCO annotations file, or a folder of VOC annotations.
        found: a COCO results file, or a folder of comp4_det_*.txt files.
        metric: voc07, voc10 or coco.

    Raises:
        UserError: a file is missing or malformed, or the detections are of other images or classes.
    """
    annotations, detections = read_pair(truth, found)
    measured = measure(annotations, detections, metric)
    say(*zero_notes(annotations, detections, measured.value, measured.per_class))
    return measured


def read_pair(truth: Path, found: Path) -> tuple[AnnotationSet, DetectionSet]:
    """Read annotations and the detections that belong to them.

    Raises:
        UserError: see `read_truth` and `read_found`.
    """
    annotations = read_truth(truth)
    return annotations, read_found(found, annotations)


def read_truth(path: Path) -> AnnotationSet:
    """Read a COCO annotations file or a folder of VOC annotations.

    Raises:
        UserError: it does not exist or is neither.
    """
    if path.is_dir():
        return read_voc(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    return read_coco(path.parent, path)


def read_found(path: Path, truth: AnnotationSet) -> DetectionSet:
    """Read a COCO results file or a folder of comp4 files.

    Raises:
        UserError: it does not exist, is neither, or does not belong to the annotations.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir() or path.suffix == ".txt":
        return read_comp4(path, truth)
    return read_coco_results(path, truth)
