"""Proposals in COCO's results format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coco import box_column, column, paused_collection, read_json
from detkit.annotations.coco_results import read_plain_results
from detkit.errors import UserError
from detkit.proposals.store.foreign import ForeignProposals


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
    ids, boxes, scores = _read(file) if quick is None else (quick.image_ids, quick.boxes, quick.scores)
    order = np.argsort(ids, kind="stable")
    named, starts = np.unique(ids[order], return_index=True)
    return ForeignProposals(
        [str(name) for name in named.tolist()],
        np.split(boxes[order], starts[1:]) if len(named) else [],
        list(np.split(scores[order], starts[1:])) if len(named) else [],
        ("xywh",),
        lists_all=False,
    )


def _read(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
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
