"""What the stages of a DPM's training leave, and how far one of them came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from detkit.detectors.dpm.cascade import CascadeStages
from detkit.detectors.dpm.config import DPMConfig
from detkit.detectors.dpm.descent import Descent, StarNegatives
from detkit.detectors.dpm.weights import StarWeights
from detkit.storage.atomic import durable_file
from detkit.training.staged.stage_files import reading

Array = NDArray[Any]


def write_stars(file: Path, stars: Sequence[StarWeights]) -> None:
    """Write star models."""
    _write(file, _arrays_of(stars))


def read_stars(file: Path, detector: DPMConfig) -> list[StarWeights]:
    """Return what `write_stars` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    with reading(file):
        return _stars_of(load_file(file), detector)


def write_descent(file: Path, state: Descent) -> None:
    """Write how far a training came, after a round; what was there stays until the new one is complete."""
    arrays = _arrays_of(state.stars)
    for number, own in enumerate(state.negatives):
        arrays |= {f"{number}.features": own.features, f"{number}.examples": own.examples}
    arrays["counters"] = np.array([state.done, state.next_image, state.settled])
    arrays["loss"] = np.array([state.loss])
    _write(file, arrays)


def read_descent(file: Path, detector: DPMConfig) -> Descent:
    """Return what `write_descent` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    with reading(file):
        # Arrays of a file can neither be changed nor grow, so they are copied.
        arrays = {name: np.array(array) for name, array in load_file(file).items()}
        stars = _stars_of(arrays, detector)
        negatives = [
            StarNegatives(arrays[f"{number}.features"], arrays[f"{number}.examples"])
            for number in range(len(stars))
        ]
        done, next_image, settled = arrays["counters"].tolist()
        [loss] = arrays["loss"].tolist()
        return Descent(stars, negatives, done, next_image, loss, bool(settled))


def write_boxes(
    file: Path, boxes: Sequence[Array], stages: Sequence[CascadeStages], threshold: float
) -> None:
    """Write the predictions of boxes of each star model, its stages, where it has some, and the threshold."""
    arrays = {f"{number}.box": own for number, own in enumerate(boxes)}
    for number, cascade in enumerate(stages):
        arrays |= {f"{number}.order": cascade.order, f"{number}.limits": cascade.limits}
    _write(file, {**arrays, "threshold": np.array([threshold])})


def read_boxes(file: Path, num_stars: int) -> tuple[list[Array], list[CascadeStages | None], float]:
    """Return what `write_boxes` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    with reading(file):
        arrays = load_file(file)
        boxes = [arrays[f"{number}.box"] for number in range(num_stars)]
        stages = [
            CascadeStages(arrays[f"{number}.order"], arrays[f"{number}.limits"])
            if f"{number}.order" in arrays
            else None
            for number in range(num_stars)
        ]
        return boxes, stages, float(arrays["threshold"][0])


def write_found(file: Path, found: Sequence[tuple[int, int, Array, Array, Array]]) -> None:
    """Write image, label, inputs, scores and kinds of detections, as the context is fitted to them."""
    arrays: dict[str, Array] = {}
    for image, label, *values in found:
        if len(values[1]):
            arrays |= dict(zip((f"{label}.{image}.{name}" for name in _FOUND), values, strict=True))
    # The number of columns, where nothing was found.
    arrays["columns"] = np.array([found[0][2].shape[1] if found else 0])
    _write(file, arrays)


def read_found(files: Sequence[Path], label: int) -> tuple[Array, Array, NDArray[np.int8]]:
    """Return inputs, scores and kinds of a class's detections in the order of the images, whoever wrote them.

    Raises:
        UserError: a file is missing or damaged.
    """
    arrays: dict[str, Array] = {}
    for file in files:
        with reading(file):
            own = load_file(file)
            arrays |= {**own, "columns": np.maximum(own["columns"], arrays.get("columns", 0))}
    images = sorted({int(name.split(".")[1]) for name in arrays if name.startswith(f"{label}.")})
    parts = [[arrays[f"{label}.{image}.{name}"] for image in images] for name in _FOUND]
    nothing = np.zeros((0, int(arrays["columns"][0]))), np.zeros(0), np.zeros(0, np.int8)
    inputs, scores, kinds = (np.concatenate([empty, *own]) for empty, own in zip(nothing, parts, strict=True))
    return inputs, scores, kinds


_FOUND = ("inputs", "scores", "kinds")


def write_cubic(file: Path, cubic: Array) -> None:
    """Write what scores a class's detections anew."""
    _write(file, {"cubic": cubic})


def read_cubic(file: Path) -> Array:
    """Return what `write_cubic` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    with reading(file):
        cubic: Array = load_file(file)["cubic"]
        return cubic


def _arrays_of(stars: Sequence[StarWeights]) -> dict[str, Array]:
    arrays: dict[str, Array] = {"roots": np.array([star.root for star in stars], np.int64).reshape(-1, 2)}
    for number, star in enumerate(stars):
        arrays |= {f"{number}.values": star.values, f"{number}.anchors": star.anchors}
    return arrays


def _stars_of(arrays: dict[str, Array], detector: DPMConfig) -> list[StarWeights]:
    return [
        StarWeights(
            (root[0], root[1]),
            detector.part_size,
            arrays[f"{number}.anchors"],
            detector.mirrored,
            arrays[f"{number}.values"],
        )
        for number, root in enumerate(arrays["roots"].tolist())
    ]


def _write(file: Path, arrays: dict[str, Array]) -> None:
    with durable_file(file) as part:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)
