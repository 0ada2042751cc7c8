"""Readers of other tools' files: MATLAB's, as of selective search and EdgeBoxes, and COCO results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coco import box_column, column, paused_collection, read_json
from detkit.annotations.coco_results import read_plain_results
from detkit.errors import UserError
from detkit.proposals.store.foreign import ForeignProposals, Order

_BOX_NAMES = ("boxes", "bbs", "proposals")
_NAME_NAMES = ("images", "image_ids", "ids", "names")
# Selective search has y1 x1 y2 x2; some copies of its boxes were turned to x1 y1 x2 y2.
_CORNERS: tuple[Order, ...] = ("matlab_yxyx", "matlab_xyxy")
# EdgeBoxes has x y width height score.
_SIDES: tuple[Order, ...] = ("matlab_xywh",)


def read_proposal_mat(file: Path) -> ForeignProposals:
    """Return the proposals in a MATLAB file with a cell of boxes for each image.

    The cell `boxes` (selective search) or `bbs` (EdgeBoxes) holds (P, 4) or, with scores, (P, 5) numbers an
    image; the cell `images` names the images, and without it they follow the order of the dataset. A cell
    `scores` is read where it is there.

    Raises:
        UserError: the file is not such a file.

    Example:
        >>> import tempfile
        >>> from scipy.io import savemat
        >>> cell = np.empty(1, object)
        >>> cell[0] = np.array([[2.0, 1.0, 40.0, 30.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "boxes.mat"
        ...     savemat(file, {"boxes": cell})
        ...     found = read_proposal_mat(file)
        >>> found.boxes[0].tolist(), found.orders
        ([[2.0, 1.0, 40.0, 30.0]], ('matlab_yxyx', 'matlab_xyxy'))
    """
    content = _load(file)
    name = next((name for name in _BOX_NAMES if name in content), None)
    if name is None:
        held = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
        raise UserError(f"{file}: has no cell {', '.join(_BOX_NAMES)}; it holds {held}")
    cells = content[name]
    if cells.dtype != object:
        raise UserError(
            f"{file}: {name} must be a cell with the boxes of each image, but is one array {cells.shape}; "
            "put the images of a dataset together in one file"
        )
    rows = [_rows(cell, name, number, file) for number, cell in enumerate(cells.ravel().tolist(), start=1)]
    given = {row.shape[1] for row in rows if len(row)}
    if len(given) > 1:
        raise UserError(f"{file}: {name} has boxes of 4 numbers and of 5; all must be alike")
    names = next((_texts(content[key]) for key in _NAME_NAMES if key in content), None)
    if names is not None and len(names) != len(rows):
        raise UserError(f"{file}: holds boxes of {len(rows)} images and names of {len(names)}")
    return ForeignProposals(
        names,
        [row[:, :4] for row in rows],
        _scores(rows, content.get("scores"), file),
        _SIDES if name == "bbs" or given == {5} else _CORNERS,
    )


def _load(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat  # loaded late: most never read such a file
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, Any] = loadmat(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    except NotImplementedError:
        raise UserError(f"{file}: a MATLAB file of version 7.3; save it again in MATLAB with '-v7'") from None
    except (MatReadError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file}: not a MATLAB file that can be read ({error})") from None
    return content


def _rows(cell: Any, name: str, number: int, file: Path) -> NDArray[np.float64]:
    values = np.asarray(cell)
    if not values.size:
        return np.zeros((0, 4))
    if values.ndim != 2 or values.shape[1] not in (4, 5) or values.dtype.kind not in "iuf":
        raise UserError(f"{file}: {name}{{{number}}} must be (P, 4) or (P, 5) numbers, found {values.shape}")
    return values.astype(np.float64)


def _texts(cells: NDArray[Any]) -> list[str]:
    return [str(np.asarray(cell).ravel()[0]) if np.size(cell) else "" for cell in cells.ravel().tolist()]


def _scores(rows: list[NDArray[np.float64]], cells: Any, file: Path) -> list[NDArray[np.float64] | None]:
    if cells is None:
        return [row[:, 4] if row.shape[1] == 5 else None for row in rows]
    scores = [np.asarray(cell, np.float64).ravel() for cell in np.asarray(cells).ravel().tolist()]
    if [len(score) for score in scores] != [len(row) for row in rows]:
        raise UserError(f"{file}: scores do not have a number for each box")
    return list(scores)


@paused_collection()
def read_proposal_json(file: Path) -> ForeignProposals:
    """Return the boxes of a list of {image_id, bbox: [x, y, width, height], score}; labels do not matter.

    Raises:
        UserError: the file is not such a list.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "boxes.json"
        ...     _ = file.write_text('[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]')
        ...     found = read_proposal_json(file)
        >>> found.names, found.boxes[0].tolist(), found.orders
        (['7'], [[1.0, 2.0, 3.0, 4.0]], ('xywh',))
    """
    quick = read_plain_results(file)
    ids, boxes, scores = (
        _read_objects(file) if quick is None else (quick.image_ids, quick.boxes, quick.scores)
    )
    order = np.argsort(ids, kind="stable")
    named, starts = np.unique(ids[order], return_index=True)
    return ForeignProposals(
        [str(name) for name in named.tolist()],
        np.split(boxes[order], starts[1:]) if len(named) else [],
        list(np.split(scores[order], starts[1:])) if len(named) else [],
        ("xywh",),
        lists_all=False,
    )


def _read_objects(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(
            f"{file}: proposals as JSON are a list of {{image_id, bbox, score}}, as COCO results are; found "
            f"{type(content).__name__}"
        )
    ids = np.asarray(column(content, "image_id", "results", file))
    said = column(content, "score", "results", file)
    try:
        scores = np.asarray(said, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{file}: every score must be a number") from None
    return ids, box_column(content, "results", file), scores
