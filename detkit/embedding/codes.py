"""Codes of the objects of a dataset: their vectors at a layer, and what they look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.data.images import Pixels
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import Sample
from detkit.data.near_duplicates import THUMBNAIL_PX
from detkit.embedding.items import Items
from detkit.embedding.layers import LayerReader
from detkit.inference.predictor import Predictor, samples_of
from detkit.runtime.cores import num_workers
from detkit.runtime.thread_map import map_threads
from detkit.runtime.threads import number_kept
from detkit.structures import ImageBatch

CONTEXT = 0.1
"""By what part of its sides a box is widened where an object is cut out of its image."""


@dataclass(frozen=True)
class Codes:
    """What is known of N objects.

    Attributes:
        vectors: (N, D) float32 at the layer.
        crops: (N, S, S, 3) uint8 RGB; see `cut_out`.
        thumbnails: (N, THUMBNAIL_PX, THUMBNAIL_PX) uint8 grey, the object's box resized.
    """

    vectors: NDArray[np.float32]
    crops: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]


@dataclass(frozen=True)
class _Prepared:
    """An image as the network takes it, the regions on it, and its objects' pictures."""

    sample: Sample
    boxes: NDArray[np.float64]
    crops: list[Pixels]
    thumbnails: list[Pixels]


def codes_of(
    predictor: Predictor,
    pixels: Callable[[int], Pixels],
    items: Items,
    layer: str,
    crop_px: int,
    on_object: Callable[[int, int], None] = lambda done, total: None,
) -> Codes:
    """Return the codes of objects.

    Args:
        predictor: the detector.
        pixels: returns the (H, W, 3) uint8 RGB pixels of an image.
        items: the objects, or whole images.
        layer: see `LayerReader`.
        crop_px: side of the crops.
        on_object: called with how many are done, and how many there are.

    Raises:
        UserError: an image cannot be read, or the detector has no such layer.
    """
    read = LayerReader(predictor.model, layer)
    found: list[NDArray[np.float32]] = []
    crops = np.zeros((len(items), crop_px, crop_px, 3), dtype=np.uint8)
    thumbnails = np.zeros((len(items), THUMBNAIL_PX, THUMBNAIL_PX), dtype=np.uint8)
    prepared = _prepared(predictor, pixels, items, crop_px, one_by_one=read.is_whole)
    at_once, done = 1 if predictor.session.device.type == "cpu" else 8, 0
    while batch := list(islice(prepared, at_once)):
        found.append(_vectors(read, predictor, batch))
        for one in batch:
            last = done + len(one.boxes)
            crops[done:last], thumbnails[done:last] = one.crops, one.thumbnails
            done = last
        on_object(done, len(items))
    return Codes(np.concatenate(found) if found else np.zeros((0, 0), np.float32), crops, thumbnails)


def _vectors(read: LayerReader, predictor: Predictor, batch: Iterable[_Prepared]) -> NDArray[np.float32]:
    images = collate([one.sample for one in batch], seed=0).images.to(predictor.session.device)
    each = zip(batch, range(len(images)), strict=True)
    boxes = [_in_batch(one.boxes, images, number) for one, number in each]
    work = predictor.session.threads.of("embedding").unit(images.pixels.numel())
    with number_kept(), work, torch.inference_mode(), predictor.session.autocast():
        return read(images, boxes).cpu().numpy()


def _in_batch(boxes: NDArray[np.float64], images: ImageBatch, number: int) -> Tensor:
    """Return the (R, 4) boxes in pixels of the batch."""
    (height, width), (old_height, old_width) = images.sizes[number], images.originals[number]
    scaled = boxes * np.tile([width / old_width, height / old_height], 2)
    return torch.from_numpy(scaled).to(images.pixels.device, torch.float32)


def _prepared(
    predictor: Predictor, pixels: Callable[[int], Pixels], items: Items, crop_px: int, *, one_by_one: bool
) -> Iterator[_Prepared]:
    """Yield the images, or the objects cut out of them, read ahead in threads."""

    def sample(own: Pixels) -> Sample:
        return samples_of(own, [predictor.resize])[0]

    def prepare(rows: NDArray[np.int64]) -> list[_Prepared]:
        whole, boxes = pixels(int(items.images[rows[0]])), items.boxes[rows]
        crops = [cut_out(whole, box, crop_px) for box in boxes]
        grey = [_grey(_cut(whole, box, 0.0)) for box in boxes]
        if not one_by_one:
            return [_Prepared(sample(whole), boxes, crops, grey)]
        return [
            _Prepared(sample(own), _all_of(own), [crop], [small])
            for own, crop, small in zip(
                (_cut(whole, box, CONTEXT) for box in boxes), crops, grey, strict=True
            )
        ]

    starts = np.flatnonzero(np.diff(items.images, prepend=-1))
    of_images = np.split(np.arange(len(items)), starts[1:]) if len(items) else []
    threads = max(1, num_workers(None))
    for some in map_threads(prepare, of_images, threads, started=threads + 8):
        yield from some


def cut_out(pixels: Pixels, box: NDArray[np.float64], side: int = 240) -> Pixels:
    """Return the square around a box, with a little of what is around it; grey beyond the image.

    Args:
        pixels: (H, W, 3) uint8 RGB of its image.
        box: (4,) corner box in pixels.
        side: of the crop in pixels.
    """
    middle, half = (box[:2] + box[2:]) / 2, (0.5 + CONTEXT) * (box[2:] - box[:2]).max()
    return _square(_cut(pixels, np.concatenate([middle - half, middle + half]), 0.0), side)


def _all_of(pixels: Pixels) -> NDArray[np.float64]:
    return np.array([[0, 0, pixels.shape[1], pixels.shape[0]]], dtype=np.float64)


def _cut(pixels: Pixels, box: NDArray[np.float64], context: float) -> Pixels:
    """Return the pixels of a box, widened by a part of its sides, within its image; at least one."""
    size = np.array(pixels.shape[1::-1])
    margin = context * (box[2:] - box[:2])
    low = np.clip(np.floor(box[:2] - margin), 0, size - 1).astype(np.int64)
    high = np.clip(np.ceil(box[2:] + margin), low + 1, size).astype(np.int64)
    return np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]])


def _square(pixels: Pixels, side: int) -> Pixels:
    """Return pixels in the middle of a grey square that they fill one way."""
    scale = side / max(pixels.shape[:2])
    height, width = (min(side, max(1, round(length * scale))) for length in pixels.shape[:2])
    square = np.full((side, side, 3), 128, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square[top : top + height, left : left + width] = cv2.resize(
        pixels, (width, height), interpolation=method
    )
    return square


def _grey(pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
