"""The last stages of R-CNN and SPP-net: SVMs by hard negatives, and box regression, from features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from detkit.models.assignment import CROWD_IOU
from detkit.models.roi.decision import RidgeDeltas, SVMScores
from detkit.runtime.processes import gather, rank, world_size
from detkit.runtime.progress import ProgressLine, say
from detkit.storage.atomic import durable_file
from detkit.training.staged.feature_scale import feature_scale
from detkit.training.staged.feature_store import Vectors, regression_examples
from detkit.training.staged.hard_negatives import FeatureRows, Mining, MiningState, mine, planes
from detkit.training.staged.mining_file import load_mining, save_mining
from detkit.training.staged.region_labels import negatives_of_classes
from detkit.training.staged.region_reader import Floats, RegionReader
from detkit.training.staged.ridge import RidgeMoments

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

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return len(self.reader.regions)

    @property
    def num_features(self) -> int:
        """Length of a vector."""
        return self.reader.model.widths[self.reader.model.layer]

    def positives(self, image: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return (P, D) features of an image's objects, and their (P,) classes."""
        labels: NDArray[np.int64] = self.reader.regions.objects(image).labels.numpy()
        return self.vectors.decision(image, np.arange(len(labels))) * self.scale, labels

    def candidates(self, image: int) -> FeatureRows:
        """Return the boxes that may be negatives: all regions, the objects of other classes too."""
        regions = self.reader.regions
        negative = negatives_of_classes(
            regions.boxes(image),
            regions.index.target(image),
            self.num_classes,
            below_iou=self.negative_iou,
            crowd_iou=CROWD_IOU,
        ).numpy()
        features = self.vectors.decision(image) * np.float32(self.scale)
        return FeatureRows(features, np.arange(len(features)), negative)


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
    part.mkdir(parents=True, exist_ok=True)
    number = len(reader.regions)
    scale = feature_scale(vectors.decision, number, seed)
    file = part / f"mining_{rank()}_of_{world_size()}.safetensors"
    progress, saved = ProgressLine("hard negatives", number), time.monotonic()

    def on_image(state: MiningState) -> None:
        nonlocal saved
        progress(state.done)
        if time.monotonic() - saved > _BETWEEN_SAVES_S:
            save_mining(file, state)
            saved = time.monotonic()

    examples = SVMExamples(reader, vectors, scale, len(classes), negative_iou)
    begun = load_mining(file) if file.exists() else None
    own = range(rank(), len(classes), world_size())
    with progress:
        state = mine(examples, classes, how, own=own, state=begun, on_image=on_image)
    blank = (np.zeros(examples.num_features), np.array(0.0), False)
    found = planes(state)
    rows = [
        blank if (svm := found[label]) is None else (svm.weights, np.array(svm.bias), True) for label in own
    ]
    _leave(part / "svms.safetensors", own, rows, blank, scale)
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
    scale = feature_scale(
        lambda image: vectors.pool5(image, examples[image].rows.numpy()),
        len(examples),
        seed,
    )
    own = range(rank(), num_classes, world_size())
    found = []
    with ProgressLine("box regression", len(examples) * len(own)) as progress:
        for turn, label in enumerate(own):
            moments = RidgeMoments(reader.model.widths["pool5"])
            for image, all_classes in enumerate(examples):
                of_class = all_classes.labels == label
                if bool(of_class.any()):
                    features = vectors.pool5(image, all_classes.rows[of_class].numpy())
                    moments.add(torch.from_numpy(features * np.float32(scale)), all_classes.targets[of_class])
                progress(turn * len(examples) + image + 1)
            found.append(moments.solve(ridge))
    rows = [(one.weights.T.numpy(), one.bias.numpy(), True) for one in found]
    blank = (np.zeros((4, reader.model.widths["pool5"])), np.zeros(4), True)
    _leave(part / "box_regression.safetensors", own, rows, blank, scale)


def fill_svms(svms: SVMScores, folder: Path, classes: Sequence[str]) -> None:
    """Take over the SVMs that `fit_svms` left, and name the classes that have none."""
    kept = load_file(folder / "svms.safetensors")
    weights, bias, known = kept["weights"], kept["bias"], kept["known"]
    svms.fill(torch.from_numpy(weights), torch.from_numpy(bias), known.tolist(), float(kept["scale"][0]))
    unknown = [name for name, has_plane in zip(classes, known, strict=True) if not has_plane]
    if unknown and rank() == 0:
        say(f"no object of {', '.join(unknown)} in the training images: these classes are never found")


def fill_box_regression(deltas: RidgeDeltas, folder: Path) -> None:
    """Take over the box regression that `fit_box_regression` left."""
    kept = {
        name: torch.from_numpy(value)
        for name, value in load_file(folder / "box_regression.safetensors").items()
    }
    deltas.fill(kept["weights"], kept["bias"], float(kept["scale"][0]))


Row = tuple[NDArray[np.float64], NDArray[np.float64], bool]


def _leave(file: Path, own: Sequence[int], rows: Sequence[Row], blank: Row, scale: float) -> None:
    """Write what all processes fitted of their classes, in the order of the classes.

    Args:
        file: written by the first process.
        own: the classes of this process; there may be more processes than classes.
        rows: what was fitted of each.
        blank: has the shapes of a row.
        scale: of the features.
    """
    # The blank row gives the arrays of a process without classes their shapes, and is left out again.
    weights, bias, known = (np.stack(values)[:-1] for values in zip(*rows, blank, strict=True))
    labels = np.array(own, dtype=np.int64)
    arrays = gather({"labels": labels, "weights": weights, "bias": bias, "known": known})
    if arrays is None:
        return
    order = np.argsort(arrays["labels"], kind="stable")
    kept = {name: np.ascontiguousarray(array[order]) for name, array in arrays.items()}
    with durable_file(file) as part:
        save_file({**kept, "scale": np.array([scale])}, part)
