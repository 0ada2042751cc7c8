"""The last stages of R-CNN and SPP-net: SVMs by hard negatives, and box regression, from features."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from detkit.models.assignment import CROWD_IOU
from detkit.models.roi.decision import RidgeDeltas
from detkit.ops.boxes import pairwise_ioa, pairwise_iou
from detkit.runtime.processes import gather, rank, world_size
from detkit.runtime.progress import ProgressLine
from detkit.storage.atomic import durable_file
from detkit.structures import Target
from detkit.training.staged.feature_store import (
    Floats,
    RegionReader,
    Vectors,
    feature_scale,
    lengths,
    regression_examples,
)
from detkit.training.staged.mining_state import MiningState, load_mining, save_mining
from detkit.training.staged.ridge import RidgeMoments
from detkit.training.staged.stage_files import reading
from detkit.training.staged.svms import ExampleSource, Mining, mine

SVMS, BOX_REGRESSION = "svms.safetensors", "box_regression.safetensors"
_BETWEEN_SAVES_S = 60.0


@dataclass(frozen=True)
class SVMExamples:
    """The features of all regions, as mining asks for them.

    Attributes:
        reader: knows the regions.
        vectors: their features.
        scale: factor on these.
        num_classes: K.
        negative_iou: a region is a negative of a class below this IoU with each of its objects.
    """

    reader: RegionReader
    vectors: Vectors
    scale: float
    num_classes: int
    negative_iou: float

    def __len__(self) -> int:
        return len(self.reader.regions)

    def positives(self, image: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return (P, D) features of an image's objects, and their (P,) classes."""
        labels: NDArray[np.int64] = self.reader.regions.objects(image).labels.numpy()
        return self.vectors.decision(image, np.arange(len(labels))) * self.scale, labels

    def candidates(self, image: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (R, D) features of all regions, and (R, K) of which classes each is a negative."""
        regions = self.reader.regions
        negative = negatives_of_classes(
            regions.boxes(image),
            regions.index.target(image),
            self.num_classes,
            below_iou=self.negative_iou,
            crowd_iou=CROWD_IOU,
        )
        return self.vectors.decision(image) * np.float32(self.scale), negative.numpy()


def negatives_of_classes(
    boxes: Tensor, target: Target, num_classes: int, *, below_iou: float, crowd_iou: float
) -> Tensor:
    """Return of which classes each region is a negative: those none of whose objects it overlaps much.

    Objects of other classes play no part: a box right on a dog is a negative of every other class. Regions
    that overlap more, but are not objects themselves, are neither positive nor negative. Difficult objects
    keep regions from being negatives as others do, and a crowd those that lie in it.

    Args:
        boxes: (N, 4) regions in pixels.
        target: the image's objects.
        num_classes: K.
        below_iou: a negative overlaps each object of the class by less (0.3 in R-CNN).
        crowd_iou: a region that lies in a crowd of the class by more than this share is no negative.

    Returns:
        (N, K) bool.

    Reference: Girshick et al., CVPR 2014, section 2.3 and appendix B.
    """
    negative = torch.ones((len(boxes), num_classes), dtype=torch.bool, device=boxes.device)
    close = (pairwise_iou(boxes, target.boxes) >= below_iou) & ~target.crowd
    close |= (pairwise_ioa(boxes, target.boxes) > crowd_iou) & target.crowd
    for label in set(target.labels.tolist()):
        negative[:, label] = ~close[:, target.labels == label].any(dim=1)
    return negative


def fit_svms(
    reader: RegionReader,
    vectors: Vectors,
    how: Mining,
    classes: Sequence[str],
    part: Path,
    *,
    negative_iou: float,
    seed: int,
) -> None:
    """Mine hard negatives and fit the SVMs of all classes, those of this process, and leave them in `part`.

    Args:
        reader: knows the regions.
        vectors: their features.
        how: the mining, and the SVMs.
        classes: K names.
        part: folder of the stage; from what an earlier attempt left in it the mining is resumed.
        negative_iou: a region is a negative of a class below this IoU with each of its objects.
        seed: seeds the choice of regions that the features' scale is measured on.

    Raises:
        UserError: an image cannot be read, or a class has no negatives.
    """
    counts = reader.regions.counts()
    scale = feature_scale(lambda image, rows: lengths(vectors.decision(image, rows)), counts, seed)
    examples = SVMExamples(reader, vectors, scale, len(classes), negative_iou)
    width = reader.model.widths[reader.model.layer]
    mine_planes(lambda state: examples, width, how, classes, part, scale)


def mine_planes(
    examples_of: Callable[[MiningState], ExampleSource],
    width: int,
    how: Mining,
    classes: Sequence[str],
    part: Path,
    scale: float = 1.0,
) -> None:
    """Mine hard negatives and fit the SVMs of all classes, those of this process, and leave them in `part`.

    Args:
        examples_of: returns the examples, given the state of the mining, for those that choose by it.
        width: length of a feature vector.
        how: the mining, and the SVMs.
        classes: K names.
        part: folder of the stage; from what an earlier attempt left in it the mining is resumed.
        scale: factor that the features have already.

    Raises:
        UserError: an image cannot be read, or a class has no negatives.
    """
    part.mkdir(parents=True, exist_ok=True)
    file = part / f"mining_{rank()}_of_{world_size()}.safetensors"
    state = load_mining(file) if file.exists() else MiningState.begin(width, len(classes))
    examples = examples_of(state)
    progress, saved = ProgressLine("hard negatives", len(examples)), time.monotonic()

    def on_image() -> None:
        nonlocal saved
        progress(state.done)
        if time.monotonic() - saved > _BETWEEN_SAVES_S:
            save_mining(file, state)
            saved = time.monotonic()

    own = np.arange(rank(), len(classes), world_size())
    with progress:
        mine(examples, state, classes, how, own=own.tolist(), on_image=on_image)
    weights, bias = state.weights[own].astype(np.float64), state.bias[own].astype(np.float64)
    kept = part / SVMS
    _leave(kept, scale, labels=own, weights=weights, bias=bias, known=state.trained[own])
    file.unlink(missing_ok=True)


def fit_box_regression(
    reader: RegionReader,
    vectors: Vectors,
    num_classes: int,
    part: Path,
    *,
    ridge: float,
    min_iou: float,
    seed: int,
) -> None:
    """Fit the box regression of all classes, those of this process, and leave it in `part`.

    Class by class, so that only one class's examples are in memory; a region is an example of one class, so
    none is read twice.

    Args:
        reader: knows the regions.
        vectors: their pool5.
        num_classes: K.
        part: folder of the stage.
        ridge: weight of the coefficients' norm against the squared errors.
        min_iou: regions that overlap an object by more are examples.
        seed: seeds the choice of regions that the features' scale is measured on.

    Raises:
        UserError: an image cannot be read, or no region overlaps an object enough.
    """
    part.mkdir(parents=True, exist_ok=True)
    examples = [regression_examples(reader, image, min_iou) for image in range(len(reader.regions))]
    # Of all regions, not of the examples: these have longer features, and would be pulled less.
    scale = feature_scale(vectors.pool5_norms, reader.regions.counts(), seed)
    own, width = np.arange(rank(), num_classes, world_size()), reader.model.widths["pool5"]
    weights, bias = np.zeros((len(own), 4, width)), np.zeros((len(own), 4))
    with ProgressLine("box regression", len(examples) * len(own)) as progress:
        for turn, label in enumerate(own.tolist()):
            moments = RidgeMoments(width)
            for image, all_classes in enumerate(examples):
                of_class = all_classes.labels == label
                if bool(of_class.any()):
                    features = vectors.pool5(image, all_classes.rows[of_class].numpy())
                    moments.add(torch.from_numpy(features * np.float32(scale)), all_classes.targets[of_class])
                progress(turn * len(examples) + image + 1)
            found = moments.solve(ridge)
            weights[turn], bias[turn] = found.weights.T, found.bias
    kept = part / BOX_REGRESSION
    _leave(kept, scale, labels=own, weights=weights, bias=bias, known=np.ones(len(own), np.bool_))


class Planes(Protocol):
    """A part of a model that holds a plane for each class; see `SVMScores.fill`."""

    def fill(self, weights: Tensor, bias: Tensor, known: Sequence[bool], scale: float) -> None:
        """Take over fitted planes."""
        ...


def fill_svms(svms: Planes, folder: Path) -> None:
    """Take over the SVMs that `fit_svms` or `mine_planes` left."""
    with reading(folder / SVMS):
        kept = load_file(folder / SVMS)
        weights, bias, known = kept["weights"], kept["bias"], kept["known"]
        svms.fill(torch.from_numpy(weights), torch.from_numpy(bias), known.tolist(), float(kept["scale"][0]))


def fill_box_regression(deltas: RidgeDeltas, folder: Path) -> None:
    """Take over the box regression that `fit_box_regression` left."""
    with reading(folder / BOX_REGRESSION):
        kept = load_file(folder / BOX_REGRESSION)
        weights, bias = torch.from_numpy(kept["weights"]), torch.from_numpy(kept["bias"])
        deltas.fill(weights, bias, float(kept["scale"][0]))


def _leave(file: Path, scale: float, **fitted: NDArray[Any]) -> None:
    """Write in the first process what all processes fitted of their classes, in the order of the classes.

    Args:
        file: where.
        scale: of the features.
        fitted: `labels`, the classes of this process, none where there are more processes than classes; and
            of each its `weights`, its `bias` and whether it is `known`.
    """
    arrays = gather(fitted)
    if arrays is None:
        return
    order = np.argsort(arrays["labels"], kind="stable")
    kept = {name: np.ascontiguousarray(array[order]) for name, array in arrays.items()}
    with durable_file(file) as part:
        save_file({**kept, "scale": np.array([scale])}, part)
