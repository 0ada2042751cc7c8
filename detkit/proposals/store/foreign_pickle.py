"""Proposals in the pickles of Detectron, detectron2 and mmdetection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.store.foreign import ForeignProposals, Order
from detkit.proposals.store.foreign_unpickler import PickledArray, PickledRecord, read_pickle

_LAYOUTS = (
    "a dict with ids (or indexes), boxes and objectness_logits (or scores), as Detectron and detectron2 "
    "write it; a dict from file name to boxes, as mmdetection 3 writes it; or a list of (P, 5) arrays in the "
    "order of the dataset, as mmdetection 2 does"
)
_BOX_MODES: dict[int, Order] = {0: "corners", 1: "xywh"}


def read_proposal_pickle(file: Path) -> ForeignProposals:
    """Return the proposals in a pickle, without running anything that is in it.

    Raises:
        UserError: the file is not such a pickle.

    Example:
        >>> import pickle, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "boxes.pkl"
        ...     _ = file.write_bytes(pickle.dumps({"a.jpg": np.array([[0, 0, 4, 3, 0.5]])}))
        ...     found = read_proposal_pickle(file)
        >>> found.names, found.boxes[0].tolist(), found.scores[0].tolist()
        (['a.jpg'], [[0.0, 0.0, 4.0, 3.0]], [0.5])
    """
    content = read_pickle(file)
    values = content.values if isinstance(content, PickledArray) else content
    try:
        if isinstance(values, dict) and "boxes" in values and ("ids" in values or "indexes" in values):
            return _by_id(values)
        if isinstance(values, dict):
            return _per_image(list(map(str, values)), list(values.values()))
        if isinstance(values, list):
            return _per_image(None, values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    raise UserError(f"{file}: holds {type(values).__name__}, not proposals; known are {_LAYOUTS}")


def _by_id(content: dict[Any, Any]) -> ForeignProposals:
    ids = _items(content.get("ids", content.get("indexes")), "ids")
    boxes = [_boxes(item, 4) for item in _items(content["boxes"], "boxes")]
    said = content.get("objectness_logits", content.get("scores"))
    scores = (
        [None] * len(boxes) if said is None else [_numbers(s).reshape(-1) for s in _items(said, "scores")]
    )
    if not len(ids) == len(boxes) == len(scores):
        raise UserError(f"holds {len(ids)} ids, boxes of {len(boxes)} images and scores of {len(scores)}")
    mode = content.get("bbox_mode", 0)
    if mode not in _BOX_MODES:
        raise UserError(f"bbox_mode is {mode}; 0 (x1 y1 x2 y2) and 1 (x y width height) in pixels are read")
    return _checked(list(map(str, ids)), boxes, scores, _BOX_MODES[mode])


def _per_image(names: list[str] | None, entries: Sequence[Any]) -> ForeignProposals:
    boxes, scores = [], []
    for entry in entries:
        held = vars(entry) if isinstance(entry, PickledRecord) else entry
        if isinstance(held, dict):
            if "bboxes" not in held:
                raise UserError(f"an entry has no bboxes; known are {_LAYOUTS}")
            boxes.append(_boxes(held["bboxes"], 4))
            scores.append(_numbers(held["scores"]).reshape(-1) if "scores" in held else None)
        else:
            rows = _boxes(held, 5)
            boxes.append(rows[:, :4])
            scores.append(rows[:, 4] if rows.shape[1] == 5 else None)
    return _checked(names, boxes, scores, "corners")


def _checked(
    names: list[str] | None,
    boxes: list[NDArray[np.float64]],
    scores: Sequence[NDArray[np.float64] | None],
    order: Order,
) -> ForeignProposals:
    for entry, (of_boxes, of_scores) in enumerate(zip(boxes, scores, strict=True)):
        if of_scores is not None and len(of_boxes) != len(of_scores):
            raise UserError(f"entry {entry} has {len(of_boxes)} boxes and {len(of_scores)} scores")
    return ForeignProposals(names, boxes, list(scores), (order,))


def _items(value: Any, what: str) -> Sequence[Any]:
    held = value.values if isinstance(value, PickledArray) else value
    if not isinstance(held, list | tuple | np.ndarray):
        raise UserError(f"{what} must be a list with an item for each image, not {type(held).__name__}")
    return held.tolist() if isinstance(held, np.ndarray) and held.ndim == 1 else held  # type: ignore[return-value]


def _boxes(value: Any, most_columns: int) -> NDArray[np.float64]:
    found = _numbers(value)
    if not found.size:
        return np.zeros((0, most_columns))
    if found.ndim != 2 or not 4 <= found.shape[1] <= most_columns:
        raise UserError(
            f"the boxes of an image must be (P, 4) numbers, found {found.shape}; known are {_LAYOUTS}"
        )
    return found


def _numbers(value: Any) -> NDArray[np.float64]:
    held = value.values if isinstance(value, PickledArray) else value
    try:
        return np.asarray(held, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"numbers were expected, found {type(held).__name__}; known are {_LAYOUTS}") from None
