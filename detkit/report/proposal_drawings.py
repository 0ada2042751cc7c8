"""Drawings of proposals beside the objects they cover."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, to_corners
from detkit.data.datasets.named_images import NamedImages
from detkit.names import drawn_files
from detkit.proposals.store.store import ProposalStore
from detkit.report.draw import draw_detections, write_image

SHOWN = 10  # boxes of an image without labels


def draw_proposals(store: ProposalStore, images: NamedImages, out: Path) -> Path:
    """Draw each image with the best box of each object and its IoU, or with its first boxes.

    Args:
        store: the proposals.
        images: the images in the order of the store; without labels the first boxes are drawn.
        out: the file of the proposals; the pictures go into a folder beside it.

    Returns:
        The folder.
    """
    folder, files = out.with_name(f"{out.stem}_drawn"), drawn_files(images.names)
    for image, file in enumerate(files):
        boxes = store(image).boxes.astype(np.float64)
        picture = images.pixels(image)
        if images.truth is None:
            shown, scores = boxes[:SHOWN], store(image).scores[:SHOWN]
            ranks = np.arange(len(shown))
            drawn = draw_detections(picture, shown, ranks, scores, [f"{i + 1}:" for i in ranks])
        else:
            rows = slice(*images.truth.offsets[image : image + 2].tolist())
            objects = to_corners(images.truth.boxes[rows], images.truth.box_format)
            best, ious = best_boxes(boxes, objects)
            labels = images.truth.labels[rows][: len(best)]
            drawn = draw_detections(picture, best, labels, ious, images.truth.classes, labelled=objects)
        write_image(folder / file, drawn)
    return folder


def best_boxes(boxes: Boxes, objects: Boxes) -> tuple[Boxes, NDArray[np.float64]]:
    """Return for each object the box of highest IoU, and that IoU.

    Args:
        boxes: (P, 4) corner boxes in pixels.
        objects: (M, 4) likewise.

    Returns:
        (M, 4) and (M,); none where there are no boxes.

    Example:
        >>> best_boxes(np.array([[0.0, 0, 2, 2], [0, 0, 4, 2]]), np.array([[0.0, 0, 4, 4]]))
        (array([[0., 0., 4., 2.]]), array([0.5]))
    """
    if not len(boxes):
        return np.zeros((0, 4)), np.zeros(0)
    low = np.maximum(objects[:, None, :2], boxes[None, :, :2])
    high = np.minimum(objects[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, object_areas = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, objects))
    ious = shared / (object_areas[:, None] + areas[None] - shared)
    best = ious.argmax(axis=1)
    return boxes[best], ious[np.arange(len(objects)), best]
