"""Readers of other tools' files: MATLAB's, as of selective search and EdgeBoxes, and COCO results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coco import paused_collection, read_json
from detkit.annotations.coco_results import read_plain_results
from detkit.errors import UserError, cut, shown
from detkit.proposals.store.foreign import ForeignProposals, Order
from detkit.storage.mat_file import read_mat
from detkit.storage.regular_files import read_bytes

_BOX_NAMES = ("boxes", "bbs", "proposals")
_NO_BOXES = np.zeros((0, 4))
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
    held, content = read_mat(file, {*_BOX_NAMES, *_NAME_NAMES, "scores"})
    name = next((name for name in _BOX_NAMES if name in content), None)
    if name is None:
        wanted, found = ", ".join(_BOX_NAMES), cut(", ".join(map(shown, filter(None, held))) or "nothing")
        raise UserError(f"{file}: has no cell {wanted}; it holds {found}")
    cells = content[name]
    if cells.dtype != object:
        raise UserError(
            f"{file}: {name} must be a cell with the boxes of each image, but is one array {cells.shape}; "
            "put the images of a dataset together in one file"
        )
    rows = [_rows(cell, f"{file}: {name}{{{number}}}") for number, cell in enumerate(cells, start=1)]
    given = {row.shape[1] for row in rows if len(row)}
    if len(given) > 1:
        raise UserError(f"{file}: {name} has boxes of 4 numbers and of 5; all must be alike")
    names = next((content[key] for key in _NAME_NAMES if key in content), None)
    if names is not None and names.size != len(rows):
        raise UserError(f"{file}: holds boxes of {len(rows)} images and names of {names.size}")
    return ForeignProposals(
        None if names is None else _texts(names, file),
        [row[:, :4] for row in rows],
        _scores(rows, content.get("scores"), file),
        _SIDES if name == "bbs" or given == {5} else _CORNERS,
    )


def _rows(values: NDArray[Any], place: str) -> NDArray[Any]:
    if not values.size:
        return _NO_BOXES
    if values.ndim != 2 or values.shape[1] not in (4, 5) or values.dtype.kind not in "iuf":
        raise UserError(f"{place} must be (P, 4) or (P, 5) numbers, found {values.dtype} {values.shape}")
    return values


def _texts(names: NDArray[Any], file: Path) -> list[str]:
    """Return the names in a cell, in the rows of a text, or ids."""
    texts = []
    for number, name in enumerate(names.ravel(order="F").tolist(), start=1):
        one = name.item() if isinstance(name, np.ndarray) and name.size == 1 else name
        if isinstance(one, float) and one.is_integer():
            one = int(one)
        if not isinstance(one, int | str):
            raise UserError(f"{file}: the name of image {number} must be a text or a whole number")
        texts.append(str(one))
    return texts


def _scores(rows: list[NDArray[Any]], cells: NDArray[Any] | None, file: Path) -> list[NDArray[Any] | None]:
    if cells is None:
        return [row[:, 4] if row.shape[1] == 5 else None for row in rows]
    scores = [np.ravel(cell) for cell in cells] if cells.dtype == object else []
    if any(score.dtype.kind not in "iuf" for score in scores) or [*map(len, scores)] != [*map(len, rows)]:
        raise UserError(f"{file}: scores must be a cell with a number for each box")
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
    if quick is None:
        names, owners, boxes, scores = _read_objects(file)
    else:
        ids, owners = np.unique(quick.image_ids, return_inverse=True)
        names, boxes, scores = list(map(str, ids.tolist())), quick.boxes, quick.scores
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(1, len(names)))
    return ForeignProposals(
        names,
        np.split(boxes[order], starts) if names else [],
        list(np.split(scores[order], starts)) if names else [],
        ("xywh",),
        lists_all=False,
    )


class _Box(msgspec.Struct, gc=False):
    """What is read of one result; other keys are passed over."""

    image_id: int | str
    bbox: tuple[float, float, float, float]
    score: float


_DECODER = msgspec.json.Decoder(list[_Box])


def _read_objects(
    file: Path,
) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the names of E images, and of P results the positions of their images, the boxes and scores."""
    try:
        found = _DECODER.decode(read_bytes(file))
    except msgspec.ValidationError as error:
        raise UserError(
            f"{file}: proposals as JSON are a list of {{image_id, bbox, score}}, as COCO results are, with "
            f"bbox [x, y, width, height]: {cut(str(error), 200)}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        read_json(file)  # says where the mistake is
        raise UserError(f"{file}: not valid JSON ({cut(str(error), 200)})") from None
    table = dict[str, int]()
    owners = np.array([table.setdefault(str(one.image_id), len(table)) for one in found], np.int64)
    boxes = np.array([one.bbox for one in found], np.float64).reshape(-1, 4)
    return list(table), owners, boxes, np.array([one.score for one in found], np.float64)
