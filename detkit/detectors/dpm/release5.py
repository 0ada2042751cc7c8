"""Reader of the authors' models: `*_final.mat` of voc-release5, mixtures of star models.

In these files a model is a grammar. Symbol `start` has a structural rule for each component, whose right side
is its root and its parts; each of these is a filter, or has a deformation rule that moves one. Weights lie in
blocks that filters share, some of them mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.detectors.dpm.stars import CORNERS, Component, Mixture, Star
from detkit.errors import UserError, shown
from detkit.models.hog.dpm_features import MIRRORED
from detkit.models.hog.feature_pyramid import FeaturePyramid
from detkit.ops.kernels.dpm_feature_loops import CHANNELS
from detkit.storage.mat_file import read_mat

Array = NDArray[Any]
Record = dict[str, Array]

_SIDES = ("x1", "y1", "x2", "y2")
_RIGID = 100.0  # a root has 1000: within its reach it loses more by moving than scores differ
_MOST_CELLS = 64  # of a side of a filter
_MOST_LEVELS = 64  # of an octave
_HIGHEST_THRESHOLD = -1.0


@dataclass(frozen=True)
class Release5:
    """A model of the authors.

    Attributes:
        name: of its class.
        year: of the data that it was trained on.
        pyramid: the sizes it is looked for in.
        mixture: its star models.
        labels: for each component the numbers of its blocks, from 0: that of the offset, of the location, of
            the root, and then of each part its deformation and its filter. Statistics of scores have a column
            for each block.
        num_blocks: of the file.
    """

    name: str
    year: str
    pyramid: FeaturePyramid
    mixture: Mixture
    labels: tuple[tuple[int, ...], ...]
    num_blocks: int

    @property
    def stars(self) -> list[Star]:
        """Its star models, without their mirror images."""
        return list(cast(Iterable[Star], self.mixture.stars))


def read_release5(file: Path) -> Release5:
    """Return the model in a file of voc-release5.

    Raises:
        UserError: the file is missing or damaged, or holds another kind of model.
    """
    held, found = read_mat(file, {"model"}, structs=True)
    if "model" not in found:
        names = ", ".join(map(shown, held)) or "nothing"
        raise UserError(f"{file}: must hold `model`, as *_final.mat of voc-release5 does; it holds {names}")
    try:
        return _Reader(found["model"][0], file).read()
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{file}: not a model of voc-release5 ({type(error).__name__}: {error})") from None


class _Reader:
    def __init__(self, model: Record, file: Path) -> None:
        self.model, self.file = model, file
        self.features = model["features"][0]

    def read(self) -> Release5:
        if (kind := _text(self.model["type"])) != "M":
            raise self._refused(
                f"its model is of type {shown(kind)}, a grammar such as the person grammar; only mixtures of "
                "star models (type M) can be run"
            )
        cell_px, interval = _whole(self.model["sbin"]), _whole(self.model["interval"])
        channels = _whole(self.features["dim"]), _whole(self.features["truncation_dim"])
        if channels != (CHANNELS, CHANNELS):
            raise self._refused(f"features of {channels[0]} channels; they must have {CHANNELS}")
        if not (1 <= interval <= _MOST_LEVELS) or cell_px not in (4, 8, 16, 32):
            raise self._refused(f"interval {interval} and sbin {cell_px} make no pyramid")
        pyramid = FeaturePyramid(cell_px, interval, bool(_whole(self.features["extra_octave"])))
        start = _whole(self.model["start"])
        rules = self._rules(start)
        components, labels = zip(
            *(self._component(number, rule) for number, rule in enumerate(rules)), strict=True
        )
        mixture = _mixture(components)
        mixture.threshold.fill_(min(_HIGHEST_THRESHOLD, _number(self.model["thresh"])))
        padding = [max(sides) for sides in zip(*(one.root.shape[:2] for one in components), strict=True)]
        if padding != np.ceil(self.model["maxsize"].ravel()).tolist():
            raise self._refused("its largest window (maxsize) is not that of its root filters")
        if len({one.parts.shape for one in components}) > 1:
            raise self._refused("its components have parts of different number or size")
        name = _text(self.model["class"])
        return Release5(name, _text(self.model["year"]), pyramid, mixture, labels, len(self.model["blocks"]))

    def _refused(self, why: str) -> UserError:
        return UserError(f"{self.file}: {why}")

    def _rules(self, symbol: int) -> Array:
        rules: Array = self.model["rules"][_place(symbol)]
        if rules.dtype != object:
            raise ValueError(f"symbol {symbol} has no rule")
        return rules

    def _component(self, number: int, rule: Record) -> tuple[Component, tuple[int, ...]]:
        """Return the star model of a structural rule, and the numbers of its blocks."""
        anchors = np.array([anchor.ravel().astype(np.int64) for anchor in rule["anchor"]]).reshape(-1, 3)
        symbols = [int(symbol) for symbol in rule["rhs"].ravel()]
        if _text(rule["type"]) != "S" or not symbols or len(symbols) != len(anchors):
            raise ValueError("the start has no structural rules")
        (root, moving, root_labels), *parts = (self._moving_filter(symbol) for symbol in symbols)
        if anchors[0].any() or min(moving[0], moving[2]) < _RIGID or (anchors[1:, 2] != 1).any():
            raise self._refused(
                "its components are no stars, a root that does not move with parts at twice its resolution"
            )
        window = rule["detwindow"].ravel().tolist(), rule["shiftwindow"].ravel().tolist()
        if window != ([*root.shape[:2]], [0, 0]):
            raise self._refused("its components find windows that are not those of their root filters")
        offset, location = self._block(rule["offset"]), self._block(rule["loc"])
        component = Component(
            root,
            np.array([part[0] for part in parts]).reshape(
                len(parts), *(parts[0][0].shape if parts else (1, 1, 32))
            ),
            anchors[1:, :2],
            np.array([part[1] for part in parts]).reshape(-1, 4),
            offset.item() * _number(self.features["bias"]),
            location.reshape(3),
            self._box(number, len(symbols)),
        )
        labels = [_label(rule["offset"]), _label(rule["loc"]), root_labels[1]]
        return component, (*labels, *(label for part in parts for label in part[2]))

    def _moving_filter(self, symbol: int) -> tuple[Array, Array, tuple[int, int]]:
        """Return the filter that a symbol stands for, how it moves, and the numbers of their blocks."""
        if _text(self.model["symbols"][_place(symbol)]["type"]) == "T":
            filter_, label = self._filter(symbol)
            return filter_, np.array([np.inf, 0, np.inf, 0]), (-1, label)
        [rule] = self._rules(symbol)
        if _text(rule["type"]) != "D" or self._block(rule["offset"]).any() or self._block(rule["loc"]).any():
            raise self._refused("its parts have parts or scores of their own, which stars have not")
        filter_, label = self._filter(_whole(rule["rhs"]))
        deformation = self._block(rule["def"]).astype(np.float64).reshape(4).copy()
        if _whole(rule["def"][0]["flip"]):
            deformation[1] *= -1
        return filter_, deformation, (_label(rule["def"]), label)

    def _filter(self, symbol: int) -> tuple[Array, int]:
        entry = self.model["filters"][_place(_whole(self.model["symbols"][_place(symbol)]["filter"]))]
        weights = self._block([entry])
        rows, columns, channels = weights.shape
        if channels != CHANNELS or not (1 <= rows <= _MOST_CELLS and 1 <= columns <= _MOST_CELLS):
            raise ValueError(f"a filter of {rows} x {columns} cells with {channels} channels")
        if _whole(entry["flip"]):
            weights = weights[:, ::-1, MIRRORED]
        return weights.astype(np.float32), _label([entry])

    def _block(self, owner: Sequence[Record] | Array) -> Array:
        """Return the weights of a block in their shape."""
        block = self.model["blocks"][_label(owner)]
        shape = [int(side) for side in block["shape"].ravel()]
        weights: Array = block["w"].astype(np.float64).reshape(shape, order="F")
        if not np.isfinite(weights).all():
            raise ValueError("weights that are not finite numbers")
        return weights

    def _box(self, component: int, num_filters: int) -> Array | None:
        if "bboxpred" not in self.model or not self.model["bboxpred"].size:
            return None
        prediction = self.model["bboxpred"][component][0]
        box = np.array([prediction[side].ravel() for side in _SIDES], np.float64)
        if box.shape != (CORNERS, 2 * num_filters + 1) or not np.isfinite(box).all():
            raise ValueError("a prediction of boxes for another number of filters")
        return box


def _text(value: Array) -> str:
    return str(value.ravel()[0])


def _number(value: Array) -> float:
    number = float(value.ravel()[0])
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _whole(value: Array) -> int:
    return int(_number(value))


def _place(number: int) -> int:
    if number < 1:
        raise IndexError(f"{number} is no number of a symbol, a filter or a block")
    return number - 1


def _label(owner: Sequence[Record] | Array) -> int:
    return _place(_whole(owner[0]["blocklabel"]))


def _mixture(components: Sequence[Component]) -> Mixture:
    """Return components as stars with their mirror images, where all come in such pairs."""
    pairs = list(zip(components[::2], components[1::2], strict=False))
    mirrored = len(components) % 2 == 0 and all(_are_mirrored(*pair) for pair in pairs)
    stars = []
    for own in pairs if mirrored else [(component,) for component in components]:
        first = own[0]
        star = Star(
            first.root.shape[:2],
            len(first.parts),
            first.parts.shape[1:3],
            mirrored=mirrored,
            predicts_box=first.box is not None,
        )
        for name in ("root", "parts", "anchors", "deformations", "offset", "location"):
            getattr(star, name).copy_(torch.as_tensor(getattr(first, name)))
        if star.box is not None:
            star.box.copy_(torch.from_numpy(np.stack([one.box for one in own if one.box is not None])))
        stars.append(star)
    return Mixture(stars)


def _are_mirrored(one: Component, other: Component) -> bool:
    image = one.mirrored(other.box)
    names = ("root", "parts", "anchors", "deformations", "offset", "location")
    return all(np.array_equal(getattr(image, name), getattr(other, name)) for name in names)
