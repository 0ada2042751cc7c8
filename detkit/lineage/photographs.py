"""The same photographs, with what each detector of the chain finds in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.data.images import decode_image
from detkit.report.content import Picture
from detkit.report.draw import draw_detections, fit, write_image

NUM_SHOWN = 4
SIDE_PX = 480


def choose_images(truth: AnnotationSet) -> list[int]:
    """Return the images that are shown: with as many objects as half of the others, from all over the set."""
    counts = np.diff(truth.offsets)
    busy = np.flatnonzero(counts >= max(1.0, float(np.median(counts))))
    places = np.linspace(0, len(busy) - 1, min(NUM_SHOWN, len(busy))).round().astype(int)
    return [int(image) for image in busy[places]]


def draw_photographs(
    folder: Path, truth: AnnotationSet, found: DetectionSet, pixels: Callable[[int], NDArray[np.uint8]]
) -> None:
    """Draw what a detector finds in the images that are shown, into files of its own folder.

    Args:
        folder: where they go, by the image's number.
        truth: all images and their objects, which are drawn dashed.
        found: the detections that count.
        pixels: image number to (H, W, 3) uint8 RGB.
    """
    folder.mkdir(exist_ok=True)
    objects, boxes = (to_corners(part.boxes, part.box_format) for part in (truth, found))
    for image in choose_images(truth):
        whole = pixels(image)
        shown = fit(whole, SIDE_PX)
        scale, own = shown.shape[1] / whole.shape[1], found.images == image
        drawn = draw_detections(
            shown,
            boxes[own] * scale,
            found.labels[own],
            found.scores[own],
            truth.classes,
            labelled=objects[truth.offsets[image] : truth.offsets[image + 1]] * scale,
            weight=1.5,
        )
        write_image(folder / f"{image}.png", drawn)


def photographs(folders: Sequence[tuple[str, Path]], truth: AnnotationSet) -> list[tuple[str, list[Picture]]]:
    """Return for each image that is shown its name, and a picture for each detector that has one.

    Args:
        folders: name of each detector, and where its pictures are.
        truth: all images.
    """
    shown = []
    for image in choose_images(truth):
        files = [(name, folder / f"{image}.png") for name, folder in folders]
        pictures = [Picture(decode_image(file), name) for name, file in files if file.is_file()]
        shown.append((Path(str(truth.image_files[image])).name, pictures))
    return shown
