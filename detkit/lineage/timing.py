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

from detkit.annotations.coordinates import from_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.capabilities import Detector, HasProposalNetwork
from detkit.config.schema import Config
from detkit.data.datasets.source import Source
from detkit.data.loading.loaders import EvalLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.transforms.builder import eval_transforms
from detkit.evaluation.metrics.proposal_recall import evaluate_proposals
from detkit.proposals.builder import build_proposer
from detkit.runs.predictor import build_rpn_proposer, load_detector
from detkit.runs.session import session
from detkit.runtime.cores import num_cores
from detkit.runtime.memory import forget_peak, peak_bytes
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
        recall: share of the objects that have a proposal of their own at IoU 0.5; None, as what follows, for
            a detector that looks everywhere.
        boxes_per_image: mean number of proposals.
        proposal_seconds: median time of an image's proposals; of a proposal network, without the maps that
            the detector needs anyway.
        network_seconds: median time of the rest, without reading and resizing the image.
        test_bytes: most memory that was in use meanwhile: of a GPU, or of the whole process.
    """

    recall: float | None
    boxes_per_image: float | None
    proposal_seconds: float | None
    network_seconds: float
    test_bytes: int


def time_by_image(config: Config, weights: Path, source: Source) -> Tested:
    """Time a detector image by image, on the cores it is fastest on, and measure its proposals.

    Args:
        config: its config.
        weights: its model.safetensors.
        source: the validation images, with their pixels as they are.

    Raises:
        UserError: the weights or an image cannot be read.
    """
    proposals, numbers = config.detector.external_proposals, range(source.annotations.num_images)
    source = attach_proposals(proposals, source, "val")
    with session(config, trains=False) as run:
        model = load_detector(weights, run.device).model.eval()
        images = _images(config, run, source)
        forget_peak(run.device)
        whole = run.threads.least(lambda: _median(run, images, cast(Detector, model).detect))
        if proposals is not None:
            pixels = [source.pixels(image) for image in range(len(images))]
            looking = _median(run, pixels, build_proposer(proposals, num_threads=num_cores()))
        elif isinstance(model, HasProposalNetwork):
            looking = _seconds_of_network(run, model, images)
        else:
            return Tested(None, None, None, whole, peak_bytes(run.device))
        most = peak_bytes(run.device)
    if source.proposals is not None:
        boxes, network = [source.proposals(image) for image in numbers], whole
    else:
        proposer = build_rpn_proposer(weights, None, str(run.device))
        # Two medians: of a small network beside other programs their difference can be below 0.
        network = max(whole - looking, 0.0)
        boxes = [proposer(source.pixels(image)).boxes for image in numbers]
    return Tested(*_coverage(source.annotations, boxes), looking, network, most)


def _seconds_of_network(run: Session, model: HasProposalNetwork, images: list[ImageBatch]) -> float:
    """Return the median time of a proposal network, without the maps."""
    with torch.inference_mode(), run.autocast():
        maps = [(model.feature_maps(batch), batch.sizes) for batch in images]
    return run.threads.least(lambda: _median(run, maps, lambda given: model.propose(*given)))


def _images(config: Config, run: Session, source: Source) -> list[ImageBatch]:
    """Return the first images, each as a batch of its own on the device."""
    dataset = DetectionDataset.of(source, eval_transforms(config.data), config.seed)
    loader = EvalLoader(dataset, batch_size=1, workers=0, pin_memory=False)
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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def boxes_of_images(truth: AnnotationSet, boxes: Sequence[NDArray[np.float32]]) -> DetectionSet:
    """Return corner boxes of each image as detections of the first class without scores."""
    counts = [len(own) for own in boxes]
    return DetectionSet(
        images=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        labels=np.zeros(sum(counts), dtype=np.int32),
        scores=np.zeros(sum(counts)),
        boxes=from_corners(np.concatenate([np.zeros((0, 4)), *boxes]), truth.box_format),
        box_format=truth.box_format,
    )


def _coverage(truth: AnnotationSet, boxes: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Return the share of objects that the boxes of all images reach, and how many an image has."""
    found, most = boxes_of_images(truth, boxes), max([1, *map(len, boxes)])
    measured = evaluate_proposals(truth, found, limits=(most,), ious=(RECALL_IOU,))
    return float(measured.recall[0, 0]), float(measured.boxes_per_image[0])
