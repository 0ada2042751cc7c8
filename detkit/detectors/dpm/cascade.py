"""The star-cascade: which part comes next, and below which score a root is given up.

Felzenszwalb, Girshick and McAllester, "Cascade Object Detection with Deformable Part Models", CVPR 2010;
orders and limits as in the authors' release 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.ops.kernels.dpm_feature_loops import CHANNELS
from detkit.storage.mat_file import read_mat
from detkit.storage.regular_files import is_file, is_folder

Array = NDArray[Any]

NEVER = 1e30
"""A limit that no score reaches."""


@dataclass(frozen=True)
class CascadeStages:
    """The stages of a component.

    Attributes:
        order: (2 * (P + 1),) what each stage adds, 0 for the root; the second half in all channels.
        limits: (4 * (P + 1),) least score: of each stage with its part where it is best, and as it is.
    """

    order: Array
    limits: Array


def stages_of(coarse: Array, full: Array, coarse_bias: Array, bias: Array, threshold: float) -> CascadeStages:
    """Return the stages that lose none of some positives.

    First comes the root, then always the part that leaves the least variance to the others.

    Args:
        coarse: (N, P + 1, 2) of each positive the cost of moving and the score of root and parts, in few
            channels.
        full: the same in all channels.
        coarse_bias: (N,) what is added to the scores in few channels.
        bias: (N,) in all channels.
        threshold: least score in the end.

    Example:
        >>> scores = np.array([[[0, 1], [-0.1, 0.5]], [[0, 2], [-0.3, 0.1]]])
        >>> stages = stages_of(scores, scores, np.zeros(2), np.zeros(2), -0.5)
        >>> stages.order.tolist(), stages.limits.round(1).tolist()
        ([0, 1, 0, 1], [0.0, 1.0, 0.9, 1.4, 1.4, 1.4, 1.4, -0.5])
    """
    num_filters = full.shape[1]
    if not len(full):
        return CascadeStages(np.array(2 * [0, *range(1, num_filters)]), np.full(4 * num_filters, NEVER))
    order = _order(full[:, 1:].sum(2))
    steps = [scores[:, order].reshape(len(scores), -1) for scores in (coarse, full)]
    both, length = np.concatenate(steps, axis=1), 2 * num_filters
    first = [(both[:, :end].sum(1) + coarse_bias).min() for end in range(1, length + 1)]
    second = [(both[:, at : at + length].sum(1) + bias).min() for at in range(1, length)]
    return CascadeStages(np.array(2 * order), np.array([*first, *second, threshold]))


def _order(parts: Array) -> list[int]:
    order, left = [0], list(range(parts.shape[1]))
    while left:
        rest = {one: parts[:, [other for other in left if other != one]].sum(1).var() for one in left}
        best = min(left, key=lambda one: rest[one])
        left.remove(best)
        order.append(best + 1)
    return order


@dataclass(frozen=True)
class Statistics:
    """Scores of positives that a class's stages are made from.

    Attributes:
        scores: (N, 1 + blocks) of each the whole score and what each block of weights adds, in all channels.
        coarse: the same in few channels.
        projection: (32, C) of all channels to few.
    """

    scores: Array
    coarse: Array
    projection: Array

    def stages(self, labels: Sequence[int], threshold: float) -> CascadeStages:
        """Return the stages of a component.

        Args:
            labels: its blocks, see `Release5`.
            threshold: least score in the end; positives below it do not count.
        """
        offset, location, root, *parts = labels
        kept = self.scores[:, 0] >= threshold
        # A component's offset is never 0, and 0 where another one scored.
        coarse = self.coarse[kept & (self.coarse[:, 1 + offset] != 0)][:, 1:]
        full = self.scores[kept & (self.scores[:, 1 + offset] != 0)][:, 1:]

        def steps(values: Array) -> Array:
            moves = np.zeros((len(values), 1))  # of the root, which stays where it is
            return np.hstack([moves, values[:, [root, *parts]]]).reshape(len(values), -1, 2)

        biases = [values[:, offset] + values[:, location] for values in (coarse, full)]
        return stages_of(steps(coarse), steps(full), biases[0], biases[1], threshold)


def read_statistics(folder: Path, name: str, year: str, num_blocks: int) -> Statistics:
    """Return the statistics of a class in a folder of voc-release5's star-cascade.

    Args:
        folder: holds pca.mat, and in itself or in `data` two files *_cascade_data_*.mat for the class.
        name: of the class.
        year: of the data that its model was trained on.
        num_blocks: of the model.

    Raises:
        UserError: a file is missing, damaged or of another model.
    """
    pattern = re.compile(rf"{re.escape(f'{name}_{year}')}_cascade_data_(no_pca|pca_(\d{{1,2}}))_\d+\.mat")
    folders = [place for place in (folder, folder / "data") if is_folder(place)]
    places = [file for place in folders for file in sorted(place.iterdir())]
    own = {match[1]: (file, match[2]) for file in places if (match := pattern.fullmatch(file.name))}
    coarse = next((kind for kind in own if kind != "no_pca"), None)
    if "no_pca" not in own or coarse is None or not is_file(folder / "pca.mat"):
        raise UserError(
            f"{folder}: must hold pca.mat, {name}_{year}_cascade_data_no_pca_{year}.mat and "
            f"{name}_{year}_cascade_data_pca_5_{year}.mat, as the star-cascade of voc-release5 does"
        )
    num = int(own[coarse][1] or 0)
    basis = _matrix(folder / "pca.mat", "coeff", (CHANNELS - 1, CHANNELS - 1))
    if not 1 <= num < CHANNELS:
        raise UserError(f"{own[coarse][0]}: its name says {num} channels; there are 1 to {CHANNELS - 1}")
    projection = np.zeros((CHANNELS, num + 1))
    projection[:-1, :-1], projection[-1, -1] = basis[:, :num], 1
    scores = _matrix(own["no_pca"][0], "scores", (None, 1 + num_blocks))
    few = _matrix(own[coarse][0], "pca_scores", scores.shape)
    return Statistics(scores, few, projection)


def _matrix(file: Path, name: str, shape: tuple[int | None, ...]) -> Array:
    found = read_mat(file, {name})[1].get(name)
    if found is None or found.dtype.kind not in "fiu" or found.ndim != 2:
        raise UserError(f"{file}: must hold a matrix {name}")
    if any(want not in (None, own) for want, own in zip(shape, found.shape, strict=True)):
        wanted = " x ".join("any" if want is None else str(want) for want in shape)
        raise UserError(f"{file}: {name} must be {wanted}, and is {' x '.join(map(str, found.shape))}")
    if not np.isfinite(found).all():
        raise UserError(f"{file}: {name} has values that are not finite numbers")
    return found.astype(np.float64)
