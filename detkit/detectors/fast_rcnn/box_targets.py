"""Mean and deviation of box targets over the training set, measured before training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from detkit.data.config import DataConfig
from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.data.transforms.config import FlipConfig
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.task import Task
from detkit.models.roi.config import AnyHeadConfig
from detkit.models.roi.head_config import HeadConfig
from detkit.models.roi.roi_head import RoIHead
from detkit.runtime.processes import from_main, rank
from detkit.runtime.progress import say
from detkit.spec import CustomConfig
from detkit.structures import Target

FEWEST = 30
"""A class with fewer regions says too little about itself, and is given the numbers of all classes."""


def measure_box_targets(head: AnyHeadConfig, model: FastRCNN, task: Task, *, continues: bool) -> None:
    """Let a model's box regression be trained in the units of the training set, where its head asks for it.

    Images are taken as their files are: only their mirroring matters to the statistics, and is counted in.

    Args:
        head: says whether box targets are measured.
        model: not yet trained, or with weights of a model file.
        task: the data, with proposals.
        continues: the weights were trained in other units, and are to give what they gave.
    """
    if not isinstance(head, HeadConfig) or head.box_targets != "measured":
        return
    roi_head, predictor = model.roi_head, model.roi_head.predictor

    def measured() -> tuple[Tensor, Tensor]:
        moments = target_moments(_images(task.train_set), roi_head, len(predictor.delta_mean))
        return moments.mean_and_std(*_mirrored(task.data))

    mean, std = from_main(measured)
    predictor.measure_deltas_in(mean, std, keep_answers=continues)
    if rank() == 0:
        weights = torch.tensor(roi_head.coder.weights)
        shown = ", ".join(f"{value:.3f}" for value in (std / weights).mean(0).tolist())
        say(f"box targets are measured in deviations of the training set: {shown} on average")


def _images(source: Source) -> Iterator[tuple[Tensor, Target]]:
    index = Index.of(source.annotations)
    assert source.proposals is not None
    for image in range(len(index)):
        yield torch.tensor(source.proposals(image)), index.target(image)


def _mirrored(data: DataConfig) -> tuple[float, float]:
    """Return how often images are mirrored, left to right and upside down."""
    often = {"horizontal": 0.0, "vertical": 0.0}
    for item in data.train.augment if not isinstance(data.train, CustomConfig) else ():
        if isinstance(item, FlipConfig):
            before = often[item.direction]
            often[item.direction] = before * (1 - item.probability) + (1 - before) * item.probability
    return often["horizontal"], often["vertical"]


class TargetMoments:
    """Sums over the box regression targets of a training set, class by class.

    Args:
        num_rows: K, or 1 where all classes share one box regression.
    """

    def __init__(self, num_rows: int) -> None:
        self._count = torch.zeros((num_rows, 1), dtype=torch.float64)
        self._sum = torch.zeros((num_rows, 4), dtype=torch.float64)
        self._squares = torch.zeros((num_rows, 4), dtype=torch.float64)

    def add(self, labels: Tensor, encoded: Tensor) -> None:
        """Count regions with an object.

        Args:
            labels: (F,) the rows they belong to.
            encoded: (F, 4) their targets.
        """
        values = encoded.double()
        self._count.index_add_(0, labels, torch.ones((len(labels), 1), dtype=torch.float64))
        self._sum.index_add_(0, labels, values)
        self._squares.index_add_(0, labels, values**2)

    def mean_and_std(self, mirrored_x: float, mirrored_y: float) -> tuple[Tensor, Tensor]:
        """Return the means and deviations.

        Args:
            mirrored_x: how often an image is mirrored left to right, in [0, 1]; dx changes its sign then.
            mirrored_y: how often it is turned upside down.

        Returns:
            Two (K or 1, 4) float32 tensors. Classes with few regions share the numbers of all; where there is
            no region at all they are 0 and 1, and so is a deviation of 0.

        Example:
            >>> moments = TargetMoments(1)
            >>> moments.add(torch.tensor([0, 0]), torch.tensor([[1.0, 1.0, 0.0, 2.0], [3.0, 1.0, 0.0, 2.0]]))
            >>> moments.mean_and_std(0.0, 0.0)
            (tensor([[2., 1., 0., 2.]]), tensor([[1., 1., 1., 1.]]))
            >>> moments.mean_and_std(0.5, 0.0)[0]
            tensor([[0., 1., 0., 2.]])
        """
        few = self._count < FEWEST
        total, sums, squares = (
            torch.where(few, values.sum(0, keepdim=True), values)
            for values in (self._count, self._sum, self._squares)
        )
        count = total.clamp(min=1)
        kept = torch.tensor([1 - 2 * mirrored_x, 1 - 2 * mirrored_y, 1.0, 1.0], dtype=torch.float64)
        mean = sums / count * kept
        std = (squares / count - mean**2).clamp(min=0).sqrt()
        return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def target_moments(images: Iterable[tuple[Tensor, Target]], head: RoIHead, num_rows: int) -> TargetMoments:
    """Return the moments over all regions that stand for an object, the labelled boxes themselves included.

    Args:
        images: for each image, the (P, 4) proposals and the objects, in the same pixels.
        head: says which regions stand for an object, and encodes.
        num_rows: K, or 1 where all classes share one box regression.

    Reference: Girshick, Fast R-CNN, ICCV 2015, section 2.3.
    """
    moments = TargetMoments(num_rows)
    for proposals, target in images:
        boxes, matches = head.labelled(proposals, target)
        rows = torch.nonzero(matches >= 0).squeeze(1)
        objects = matches[rows]
        labels = target.labels[objects] if num_rows > 1 else torch.zeros_like(objects)
        moments.add(labels, head.coder.encode(target.boxes[objects], boxes[rows]))
    return moments
