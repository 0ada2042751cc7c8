"""Edge maps of another detector, such as Structured Edges, from files."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.edge_boxes.edge_map import EdgeMap


@dataclass(frozen=True)
class EdgeFiles:
    """Edge maps of images, read by their names and thinned.

    Attributes:
        folder: holds for an image a/NAME.jpg the file a/NAME.npz with `magnitude` (H, W), in [0, 1], and
            `orientation` (H, W), radians across the contour; or a/NAME.png, a grey image of 8 or 16 bits
            in which white is a sure contour. The orientation is derived where there is none. Files may also
            lie in the folder itself, without a/.
    """

    folder: Path

    def __call__(self, image: NDArray[np.uint8]) -> EdgeMap:
        """Refuse: pixels have no name."""
        raise UserError(
            f"edges from files ({self.folder}) are looked up by the image's name, and there is none here; "
            "let `detkit propose` write the boxes to a file, or take edges: {type: gradient}"
        )

    def named(self, name: str, height: int, width: int) -> EdgeMap:
        """Return the thinned contours of an image.

        Args:
            name: the image's file, relative or not.
            height: of the image.
            width: of the image.

        Raises:
            UserError: there is no file, it cannot be read, or it does not fit the image.
        """
        path = self._find(name)
        magnitude, orientation = _read_npz(path) if path.suffix == ".npz" else (_read_png(path), None)
        try:
            edges = EdgeMap.checked(magnitude, orientation)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        if edges.magnitude.shape != (height, width):
            raise UserError(
                f"{path}: the edge map has {edges.magnitude.shape[0]} rows and {edges.magnitude.shape[1]} "
                f"columns, the image {name} has {height} and {width}"
            )
        return edges.thinned()

    def _find(self, name: str) -> Path:
        stems = (PurePath(name).with_suffix(""), PurePath(PurePath(name).stem))
        tried = [self.folder / f"{stem}{suffix}" for stem in stems for suffix in (".npz", ".png")]
        for path in tried:
            # An absolute name would lead to the image itself.
            if path.is_relative_to(self.folder) and path.is_file():
                return path
        raise UserError(
            f"{self.folder}: no edge map for the image {name}; looked for {tried[2]} and {tried[3]}"
        )


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if "magnitude" not in content:
                raise UserError(
                    f"{path}: needs an array `magnitude`; it holds {', '.join(content) or 'none'}"
                )
            return content["magnitude"], content.get("orientation")
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a NumPy archive of plain arrays ({error})") from None


def _read_png(path: Path) -> NDArray[Any]:
    content = np.frombuffer(path.read_bytes(), np.uint8)  # OpenCV crashes on paths that are not UTF-8
    plane: NDArray[Any] | None = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
    if plane is None:
        raise UserError(f"{path}: cannot be read as an image")
    if plane.ndim != 2:
        raise UserError(f"{path}: an edge map is a grey image; this has {plane.shape[2]} channels")
    return plane
