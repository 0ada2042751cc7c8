"""Annotations as a few flat tensors in shared memory, so that more loader workers cost no more memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.annotations.coordinates import points_to_pixels, to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_paths
from detkit.structures import Target


@dataclass(frozen=True)
class Strings:
    """Many strings in one tensor; a Python list would be copied into every forked worker as it is read.

    Attributes:
        data: uint8, all strings in UTF-8, one after the other.
        offsets: (N + 1,) int64, where each begins.
    """

    data: Tensor
    offsets: Tensor

    @staticmethod
    def of(strings: Sequence[str]) -> Strings:
        """Return the strings in shared memory.

        Example:
            >>> Strings.of(["a.jpg", "ü.jpg"])[1]
            'ü.jpg'
        """
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        lengths = np.array([len(piece) for piece in encoded], dtype=np.int64)
        return Strings(
            _shared(np.frombuffer(b"".join(encoded), dtype=np.uint8)),
            _shared(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> str:
        start, end = self.offsets[position : position + 2].tolist()
        return self.data[start:end].numpy().tobytes().decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Index:
    """Annotations of N images and their M objects as tensors.

    All tensors lie in shared memory: forked workers see the same pages, and a spawned worker receives
    handles, not copies.

    Attributes:
        boxes: (M, 4) float32 corner boxes in pixels of the image files, continuous.
        labels: (M,) int32 in [0, K).
        difficult: (M,) bool.
        crowd: (M,) bool.
        offsets: (N + 1,) int64; the objects of image i are rows offsets[i]:offsets[i + 1].
        sizes: (N, 2) int32 (height, width) as annotated; (0, 0) where the source does not say.
        paths: N image files.
        keypoints: (M, P, 3) float32 x, y in continuous pixels and visibility; None in a dataset without.
        mirrored: for each key point the place of the one that it becomes in a mirror.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    crowd: Tensor
    offsets: Tensor
    sizes: Tensor
    paths: Strings
    keypoints: Tensor | None = None
    mirrored: tuple[int, ...] = ()

    @staticmethod
    def of(annotations: AnnotationSet) -> Index:
        """Return the index of an annotation set; the order of images and objects stays."""
        points, layout = annotations.keypoints, annotations.layout
        if points is not None:
            points = points_to_pixels(points, annotations.box_format).astype(np.float32)
        return Index(
            _shared(to_corners(annotations.boxes, annotations.box_format).astype(np.float32)),
            _shared(annotations.labels.astype(np.int32)),
            _shared(annotations.difficult),
            _shared(annotations.crowd),
            _shared(annotations.offsets.astype(np.int64)),
            _shared(annotations.sizes.astype(np.int32)),
            Strings.of(image_paths(annotations)),
            None if points is None else _shared(points),
            () if layout is None else layout.mirrored,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def target(self, image: int) -> Target:
        """Return the objects of an image in the pixels of its file, as tensors of their own."""
        start, end = self.offsets[image : image + 2].tolist()
        return Target(
            self.boxes[start:end].clone(),
            self.labels[start:end].long(),
            self.difficult[start:end].clone(),
            self.crowd[start:end].clone(),
            None,
            image,
            None if self.keypoints is None else self.keypoints[start:end].clone(),
            self.mirrored,
        )

    def size(self, image: int) -> tuple[int, int]:
        """Return the annotated (height, width) of an image in pixels; (0, 0) where it is unknown."""
        height, width = self.sizes[image].tolist()
        return height, width

    def path(self, image: int) -> str:
        """Return the file of an image."""
        return self.paths[image]


def _shared(values: NDArray[Any]) -> Tensor:
    tensor = torch.tensor(values)
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor
