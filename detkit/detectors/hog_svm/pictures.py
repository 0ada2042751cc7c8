"""Templates as pictures of the edges that they look for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.models.hog.descriptor import HOG
from detkit.report.draw import Image
from detkit.report.hog_pictures import hog_picture

_ZOOM = 2  # pixels of a picture for one of the window


def template_picture(weights: NDArray[np.floating[Any]], hog: HOG) -> Image:
    """Return a picture of a class's window: the positive weights of each cell, a stroke along the edge.

    A cell that lies in several blocks has their sum.

    Args:
        weights: (D, rows, columns) of the blocks.
        hog: what they lie on.

    Returns:
        (H, W, 3) uint8 RGB, twice as large as the window; black where no edge is looked for.
    """
    _, rows, columns = weights.shape
    shape = rows, columns, hog.block_cells, hog.block_cells, hog.bins
    edges = np.maximum(weights, 0).transpose(1, 2, 0).reshape(shape)
    angles = (np.arange(hog.bins) + 0.5) * (2 if hog.signed else 1) * np.pi / hog.bins  # middles of bins
    cell_px, stride_px = _ZOOM * hog.cell_px, _ZOOM * hog.stride_px
    whole = np.zeros((_ZOOM * hog.length_px(rows), _ZOOM * hog.length_px(columns)))
    for row, column, x, y in np.ndindex(edges.shape[:4]):
        top, left = row * stride_px + y * cell_px, column * stride_px + x * cell_px
        stroke = hog_picture(edges[row, column, x, y][None, None], cell_px, angles)
        whole[top : top + cell_px, left : left + cell_px] += stroke
    shades = np.asarray((255 * whole / (whole.max() or 1.0)).round(), np.uint8)
    return shades[..., None].repeat(3, axis=-1)
