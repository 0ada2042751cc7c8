"""Edge maps of another detector, such as Structured Edges, from files."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from PIL import Image

from detkit.errors import UserError
from detkit.proposals.edge_boxes.edge_map import EdgeMap
from detkit.storage.regular_files import read_bytes


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
        try:
            if path.suffix == ".npz":
                edges = EdgeMap.checked(*_read_npz(path, (height, width)))
            else:
                edges = EdgeMap.checked(_read_png(path, (height, width)))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except _OtherSize as error:
            size = f"{height} rows and {width} columns"
            raise UserError(f"{path}: the edge map has {error}, the image {name} has {size}") from None
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


class _OtherSize(Exception):
    """An edge map that does not fit its image, which its header says."""

    def __init__(self, size: tuple[int, ...], array: str = "") -> None:
        shape = f"{size[0]} rows and {size[1]} columns" if len(size) == 2 else f"shape {size}"
        super().__init__(f"{shape}{array and f' of {array}'}")


def _read_npz(path: Path, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if "magnitude" not in content:
                raise UserError(f"needs an array `magnitude`; it holds {', '.join(content) or 'none'}")
            return _array(content, "magnitude", size), (
                _array(content, "orientation", size) if "orientation" in content else None
            )
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"not a NumPy archive of plain arrays ({error})") from None


def _array(content: NpzFile, name: str, size: tuple[int, int]) -> NDArray[Any]:
    """Return an array of an archive, whose header is read first: a few bytes can ask for all memory."""
    assert content.zip is not None
    with content.zip.open(f"{name}.npy") as stream:
        first = np.lib.format.read_magic(stream) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, kind = header(stream)
    if shape != size:
        raise _OtherSize(shape, name)
    if kind.itemsize > 16:
        raise ValueError(f"`{name}` holds {kind}, not numbers")
    array: NDArray[Any] = content[name]
    return array


def _read_png(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError("cannot be read as an image") from None
    if found != size:
        raise _OtherSize(found)
    # OpenCV crashes on paths that are not UTF-8, so it gets the content.
    plane: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if plane is None:
        raise UserError("cannot be read as an image")
    if plane.ndim != 2:
        raise UserError(f"an edge map is a grey image; this has {plane.shape[2]} channels")
    return plane
