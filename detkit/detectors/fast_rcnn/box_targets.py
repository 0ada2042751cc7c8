"""Mean and deviation of box targets over the training set, measured before training."""

from __future__ import annotations

from collections.abc import Iterator

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
from detkit.models.roi.target_statistics import target_moments
from detkit.runtime.processes import from_main, rank
from detkit.runtime.progress import say
from detkit.spec import CustomConfig
from detkit.structures import Target


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
