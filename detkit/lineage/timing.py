"""Time of a detector for an image, proposals apart from the rest, and the recall of its proposals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.annotations.coordinates import from_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.capabilities import Detector, HasProposalNetwork
from detkit.config.schema import Config
from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.data.loading.loaders import make_eval_loader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.transforms.builder import eval_transforms
from detkit.errors import UserError
from detkit.evaluation.metrics.proposal_recall import evaluate_proposals
from detkit.proposals.builder import build_proposer
from detkit.proposals.proposals import Proposer
from detkit.runs.predictor import build_rpn_proposer, load_detector
from detkit.runs.session import session
from detkit.runtime.cores import num_cores
from detkit.runtime.session import Session
from detkit.structures import ImageBatch

MOST_IMAGES = 20
WARM_UP = 2
RECALL_IOU = 0.5

Given = TypeVar("Given")


@dataclass(frozen=True)
class Tested:
    """What was measured on the validation images.

    Attributes:
        recall: share of the objects that have a proposal of their own at IoU 0.5.
        boxes_per_image: mean number of proposals.
        proposal_seconds: median time of an image's proposals; of a proposal network, without the maps that
            the detector needs anyway.
        network_seconds: median time of the rest, without reading and resizing the image.
    """

    recall: float
    boxes_per_image: float
    proposal_seconds: float
    network_seconds: float


def time_by_image(config: Config, weights: Path, source: Source) -> Tested:
    """Time a detector image by image, on the cores it is fastest on, and measure its proposals.

    Args:
        config: its config.
        weights: its model.safetensors.
        source: the validation images, with their pixels as they are.

    Raises:
        UserError: the weights or an image cannot be read.
    """
    proposals = config.detector.external_proposals
    if proposals is None:
        return _time_with_own_proposals(config, weights, source)
    source = attach_proposals(proposals, source, "val")
    assert source.proposals is not None
    boxes = [source.proposals(image) for image in range(source.annotations.num_images)]
    proposer = build_proposer(proposals, num_threads=num_cores())
    with session(config, trains=False) as run:
        detector = cast(Detector, load_detector(weights, run.device).model.eval())
        images = _images(config, run, source)
        network = run.threads.least(lambda: _median(run, images, detector.detect))
    looking = _seconds_of_proposals(proposer, source, len(images))
    return Tested(*_coverage(source.annotations, boxes), looking, network)


def _time_with_own_proposals(config: Config, weights: Path, source: Source) -> Tested:
    """Do the same for a detector with a proposal network."""
    with session(config, trains=False) as run:
        model = load_detector(weights, run.device).model.eval()
        if not isinstance(model, HasProposalNetwork):
            raise UserError(
                f"{config.detector.type}: has neither external proposals nor a proposal network, so the time "
                "of its proposals cannot be measured"
            )
        images = _images(config, run, source)
        detector, maps = cast(Detector, model), [(model, batch, _maps(run, model, batch)) for batch in images]
        whole = run.threads.least(lambda: _median(run, images, detector.detect))
        looking = run.threads.least(lambda: _median(run, maps, _propose))
    proposer = build_rpn_proposer(weights, None, str(run.device))
    numbers = range(source.annotations.num_images)
    boxes = [proposer(source.pixels(image)).boxes for image in numbers]
    return Tested(*_coverage(source.annotations, boxes), looking, whole - looking)


def _images(config: Config, run: Session, source: Source) -> list[ImageBatch]:
    """Return the first images, each as a batch of its own on the device."""
    index, transforms = Index.of(source.annotations), eval_transforms(config.data)
    dataset = DetectionDataset(index, source.pixels, transforms, config.seed, source.proposals)
    loader = make_eval_loader(dataset, batch_size=1, workers=0, rank=0, world_size=1, pin_memory=False)
    return [images.to(run.device) for images, _ in islice(loader, MOST_IMAGES)]


@torch.inference_mode()
def _median(run: Session, given: Sequence[Given], call: Callable[[Given], object]) -> float:
    """Return the median time of a call, the first ones left out."""
    seconds = []
    for one in [*given[:WARM_UP], *given]:
        _wait(run.device)
        start = time.perf_counter()
        with run.autocast():
            call(one)
        _wait(run.device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[min(WARM_UP, len(given)) :])


@torch.inference_mode()
def _maps(run: Session, model: HasProposalNetwork, images: ImageBatch) -> Sequence[Tensor]:
    with run.autocast():
        return model.feature_maps(images)


def _propose(given: tuple[HasProposalNetwork, ImageBatch, Sequence[Tensor]]) -> None:
    model, images, maps = given
    model.propose(maps, images.sizes)


def _seconds_of_proposals(proposer: Proposer, source: Source, count: int) -> float:
    """Return the median time of the proposals of an image that is read already."""
    seconds = []
    pixels = [source.pixels(image) for image in range(count)]
    for image in [*pixels[:WARM_UP], *pixels]:
        start = time.perf_counter()
        proposer(image)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[min(WARM_UP, count) :])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _coverage(truth: AnnotationSet, boxes: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Return the share of objects that the boxes of all images reach, and how many an image has."""
    counts = [len(own) for own in boxes]
    corners = np.concatenate([np.zeros((0, 4)), *boxes])
    found = DetectionSet(
        images=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        labels=np.zeros(sum(counts), dtype=np.int32),
        scores=np.zeros(sum(counts)),
        boxes=from_corners(corners, truth.box_format),
        box_format=truth.box_format,
    )
    measured = evaluate_proposals(truth, found, limits=(max([1, *counts]),), ious=(RECALL_IOU,))
    return float(measured.recall[0, 0]), float(measured.boxes_per_image[0])
