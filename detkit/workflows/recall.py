"""`detkit recall`: how well proposals cover the objects of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from detkit.annotations.coordinates import from_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.data.datasets.named_images import labelled_images, split_names
from detkit.errors import UserError
from detkit.evaluation.metrics.proposal_recall import RECALL_IOUS, evaluate_proposals
from detkit.proposals.store.aligned import Aligned, OtherImagesError, aligned_store
from detkit.proposals.store.store import ProposalStore
from detkit.report.recall_plot import write_recall_plot
from detkit.runtime.progress import say


@dataclass(frozen=True)
class Recall:
    """How proposals cover objects; see `detkit.evaluation.metrics.proposal_recall`.

    Attributes:
        images: number of images.
        objects: number of objects that count.
        boxes_per_image: mean number of boxes looked at.
        recall: share of objects with a box of their own, by IoU.
        mabo: mean over the classes of the mean best overlap of an object.
        ar: recall averaged over IoU 0.5 to 1.
        abo: mean best overlap of each class; NaN without objects.
    """

    images: int
    objects: int
    boxes_per_image: float
    recall: dict[float, float]
    mabo: float
    ar: float
    abo: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "boxes_per_image": self.boxes_per_image,
            "recall": {f"{iou:g}": value for iou, value in self.recall.items()},
            "mabo": self.mabo,
            "ar": self.ar,
        }


def recall(
    file: str | Path,
    dataset: str | Path,
    *,
    sets: Sequence[str] = (),
    max_boxes: int | None = None,
    difficult: bool = False,
    plot: str | Path | None = None,
) -> Recall:
    """Measure how the proposals in a file cover the objects of a dataset.

    Args:
        file: a file of proposals: detkit's, a .mat, or COCO results.
        dataset: a VOC, COCO or YOLO dataset, or `synthetic`.
        sets: its parts, such as test; none is those that the file has all images of.
        max_boxes: look at the best so many of an image; None looks at all.
        difficult: count difficult objects, too.
        plot: an .svg file for the curves.

    Raises:
        UserError: a file cannot be read, or has no boxes for some images.
    """
    file, dataset, plot = Path(file), str(dataset), None if plot is None else Path(plot)
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UserError(f"--plot {plot}: the file's name must end in .svg")
    truth, aligned = _beside(file, dataset, sets)
    if aligned.unlisted:
        say(f"{file}: nothing about {aligned.unlisted} of {truth.num_images} images; no proposals there")
    if difficult:
        truth = replace(truth, difficult=np.zeros_like(truth.difficult))
    found = _boxes(aligned, truth, max_boxes)
    most = int(np.bincount(found.images, minlength=1).max())
    measured = evaluate_proposals(truth, found, limits=(max(most, 1),))
    if plot is not None:
        write_recall_plot(plot, truth, found, most)
    return Recall(
        images=truth.num_images,
        objects=int((~(truth.difficult | truth.crowd)).sum()),
        boxes_per_image=float(measured.boxes_per_image[0]),
        recall=dict(zip(RECALL_IOUS, measured.recall[0].tolist(), strict=True)),
        mabo=float(measured.mabo[0]),
        ar=float(measured.average_recall[0]),
        abo=dict(zip(measured.classes, measured.abo[0].tolist(), strict=True)),
    )


def _beside(file: Path, dataset: str, sets: Sequence[str]) -> tuple[AnnotationSet, Aligned]:
    """Return the images that are asked for and their proposals; the largest part that has them if none is."""
    truth = labelled_images(dataset, sets).annotations
    try:
        return truth, aligned_store(file, truth)
    except OtherImagesError as error:
        names = split_names(dataset)
        if sets or len(names) < 2:
            raise
        parts = {name: labelled_images(dataset, [name]).annotations for name in names}
        for name in sorted(names, key=lambda name: -parts[name].num_images):
            try:
                aligned = aligned_store(file, parts[name])
            except OtherImagesError:
                continue
            say(f"{file}: has the images of {name}: they are evaluated, and the rest of {dataset} is not")
            return parts[name], aligned
        raise UserError(f"{error}; nor has it all images of {' or of '.join(names)} alone (--set)") from None


def _boxes(aligned: Aligned, truth: AnnotationSet, max_boxes: int | None) -> DetectionSet:
    """Return the proposals of all images of a dataset as detections of its first class."""
    store = ProposalStore.open(aligned.path)
    proposals = [store(position).best(max_boxes) for position in aligned.positions.tolist()]
    counts = [len(found) for found in proposals]
    boxes = np.concatenate([np.zeros((0, 4)), *(found.boxes for found in proposals)])
    return DetectionSet(
        images=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        labels=np.zeros(sum(counts), dtype=np.int32),
        scores=np.concatenate([np.zeros(0), *(found.scores for found in proposals)]),
        boxes=from_corners(boxes, truth.box_format),
        box_format=truth.box_format,
    )
