"""Predictor: a detector on images of any size, one batch after another, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from detkit.capabilities import Detector
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import Sample
from detkit.data.transforms.geometric import Transform, as_image
from detkit.data.transforms.resize import Resize
from detkit.errors import UserError, cut, nearest, shown
from detkit.inference.pictures import Picture, is_one, pictures_of, pixels_of
from detkit.inference.prediction import Prediction
from detkit.inference.score_floor import AIMS, FIXED_SCORE, Advice, Aim, score_floors
from detkit.inference.test_time_augmentation import Augmentation
from detkit.inference.tiling import Tiling, View, merge, views_of
from detkit.names import one_line
from detkit.proposals.proposals import Proposer
from detkit.runtime.cores import num_workers
from detkit.runtime.processes import rank, world_size
from detkit.runtime.session import Session
from detkit.runtime.thread_map import map_threads
from detkit.runtime.threads import number_kept
from detkit.structures import Detections, ImageBatch, Target

_ROUND = 64  # images of a process between two meetings

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Predictor:
    """A trained detector that takes images and tells what is in them.

    Attributes:
        model: the detector, on the session's device and in evaluation mode.
        classes: K class names.
        category_ids: K ids of the classes in the dataset it was trained on.
        resize: the size rule it was trained with.
        session: where the model is, and what it computes in.
        nms_iou: of two boxes of a class from different tiles that overlap more, only the better stays.
        max_detections: at most so many for an image that was cut into tiles.
        thresholds: each class's own score thresholds, as its model file holds them.
        proposer: makes the proposals of an image, for a detector that is given them.
        augmentation: how images are seen with test-time augmentation; None where there is none.
        classifies_images: whether the model finds classes of whole images, which are not cut into tiles.
        fixed_score: lowest score reported of a class whose own threshold is not known; 0 for a classifier,
            whose first classes are its answer however sure it is.
        licence: SPDX name of the weights' licence; None where no file says it.
        measured: the metric's name and value on the validation images, as its model file holds them.
        skeleton: pairs of places among the key points that it finds, which a line joins in drawings.
    """

    model: nn.Module
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    resize: Transform
    session: Session
    nms_iou: float = 0.5
    max_detections: int = 100
    thresholds: Advice | None = None
    proposer: Proposer | None = None
    augmentation: Augmentation | None = None
    classifies_images: bool = False
    fixed_score: float = FIXED_SCORE
    licence: str | None = None
    measured: tuple[str, float] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        return "\n".join(f"{name:<11} {text}" for name, text in self._summary())

    def _summary(self) -> Iterator[tuple[str, str]]:
        yield "classes", f"{len(self.classes)}: {cut(one_line(', '.join(self.classes)), 80)}"
        yield "input", str(self.resize) if isinstance(self.resize, Resize) else "images as large as they are"
        metric, value = self.measured or ("", 0.0)
        known = f"{cut(one_line(metric))} {value:.3f} on its validation images"
        yield "measured", known if metric else "not yet: no metric is in its file"
        yield "thresholds", self.describe_floors(None)
        yield "licence", cut(one_line(self.licence or "unknown"))

    def floors(self, threshold: float | Aim | None, only: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return the (K,) lowest scores that are reported; see `score_floors`.

        Args:
            threshold: a score or an aim.
            only: names of the classes that are reported, no other is (infinity); None reports all.

        Raises:
            UserError: the threshold is none, or the detector knows no class of such a name.
        """
        floors = score_floors(threshold, self.thresholds, len(self.classes), self.fixed_score)
        if only is None:
            return floors
        for name in only:
            if name not in self.classes:
                guess = nearest(name, self.classes)
                raise UserError(
                    f"class: no class {shown(name)}; {guess}there are {cut(', '.join(self.classes), 1000)}"
                )
        return np.where([name in only for name in self.classes], floors, np.float32(np.inf))

    def describe_floors(self, threshold: float | Aim | None, only: Sequence[str] | None = None) -> str:
        """Return the lowest scores that are reported in words."""
        floors = self.floors(threshold, only)
        floors = floors[np.isfinite(floors)]
        lowest, highest = f"{floors.min():.2f}", f"{floors.max():.2f}"
        if isinstance(threshold, int | float) or not self.thresholds:
            return f"{lowest} for every class"
        return f"of {AIMS[threshold or 'f1']} for each class, {lowest} to {highest}"

    @overload
    def predict(  # type: ignore[overload-overlap]  # a text can be iterated, too
        self,
        images: str | Path,
        *,
        threshold: float | Aim | None = None,
        only: Sequence[str] | None = None,
        tile_px: int | None = None,
        augment: bool = False,
        strict: bool = True,
    ) -> Prediction | Any: ...

    @overload
    def predict(  # type: ignore[overload-overlap]  # and so can arrays and tensors
        self,
        images: NDArray[Any] | Image | Tensor,
        *,
        threshold: float | Aim | None = None,
        only: Sequence[str] | None = None,
        tile_px: int | None = None,
        augment: bool = False,
        strict: bool = True,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[Picture],
        *,
        threshold: float | Aim | None = None,
        only: Sequence[str] | None = None,
        tile_px: int | None = None,
        augment: bool = False,
        strict: bool = True,
    ) -> list[Prediction]: ...

    def predict(
        self,
        images: Picture | Iterable[Picture],
        *,
        threshold: float | Aim | None = None,
        only: Sequence[str] | None = None,
        tile_px: int | None = None,
        augment: bool = False,
        strict: bool = True,
    ) -> Prediction | list[Prediction]:
        """Return what is in one image, or a list of what is in each of several, in order.

        A file, an array, a PIL image or a tensor is one image. A list of these, a folder (with all below it)
        and a pattern such as "photos/*.jpg" are several, even where there is only one; lists may hold folders
        and patterns. See `stream` for more than memory holds.

        Args:
            images: files, or pixels as `detkit.inference.pictures.pixels_of` takes them.
            threshold: lowest score that is kept; f1, precision or recall take each class's own, and None
                the one of best F1 where the model file holds it, otherwise 0.5.
            only: names of the classes that are reported; None reports all.
            tile_px: look at tiles of this side in pixels, too, for small objects in large images.
            augment: look at each image (and tile) mirrored and in several sizes, too, and average.
            strict: raise the error of a file that cannot be read; otherwise its prediction has the error.

        Raises:
            UserError: an image cannot be read, a tile is too small, or the threshold is none of these.
        """
        settings: dict[str, Any] = {
            "threshold": threshold,
            "only": only,
            "tile_px": tile_px,
            "augment": augment,
            "strict": strict,
        }
        if is_one(images):
            return next(self.stream(images, **settings, batch_size=1, threads=0))
        return list(self.stream(images, **settings))

    def stream(
        self,
        images: Picture | Iterable[Picture],
        *,
        threshold: float | Aim | None = None,
        only: Sequence[str] | None = None,
        tile_px: int | None = None,
        augment: bool = False,
        batch_size: int | None = None,
        threads: int | None = None,
        strict: bool = True,
    ) -> Generator[Prediction]:
        """Return an iterator over what is in each image, in order, as soon as its batch is done.

        At no time are more than a few batches of images in memory, however many there are.

        Args:
            images: as in `predict`, or a generator of them.
            threshold: lowest score that is kept, as in `predict`.
            only: names of the classes that are reported; None reports all.
            tile_px: side of tiles in pixels; None looks at whole images only.
            augment: look several times, as in `predict`.
            batch_size: images or tiles processed together; None takes 8, and one on a CPU.
            threads: how many read and resize ahead; 0 does it in between, None takes the cores left over.
            strict: raise the error of a file that cannot be read; otherwise its prediction has the error.

        Raises:
            UserError: an image cannot be read, a tile is too small, or the threshold is none of these.
        """
        if batch_size is None:
            batch_size = 1 if self.session.device.type == "cpu" else 8
        threads = max(1, num_workers(None)) if threads is None else threads
        floors = torch.from_numpy(self.floors(threshold, only))
        if tile_px is not None and self.classifies_images:
            raise UserError("tile: a classifier says what the whole image shows; tiles are for detectors")
        if augment and self.augmentation is None:
            raise UserError(
                "augment: a classifier has its own views, detector.views; "
                "augmentation is for detectors that know the size of their images"
            )
        augmentation = self.augmentation if augment else None
        tiling = None if tile_px is None else Tiling(tile_px, self.nms_iou, self.max_detections)
        prepare = partial(self._prepare, tiling=tiling, augmentation=augmentation, strict=strict)
        prepared = map_threads(prepare, pictures_of(images), threads, started=threads + batch_size)
        return self._found(prepared, floors, tiling, augmentation, batch_size)

    def _found(
        self,
        prepared: Iterator[_Prepared],
        floors: Tensor,
        tiling: Tiling | None,
        augmentation: Augmentation | None,
        batch_size: int,
    ) -> Generator[Prediction]:
        waiting: deque[_Prepared] = deque()
        found: deque[Detections] = deque()
        for batch in _batches(prepared, waiting, batch_size):
            if batch:
                found.extend(self._detect(collate(batch, seed=0).images))
            while waiting and len(found) >= len(waiting[0].samples):
                item = waiting.popleft()
                if item.error is not None:
                    yield Prediction.unread(str(item.source), item.error, self.classes, self.category_ids)
                    continue
                parts = [found.popleft() for _ in item.samples]
                if augmentation is not None:
                    times = len(augmentation.views)
                    parts = [
                        augmentation.merged(parts[number * times :][:times], view.x2 - view.x1)
                        for number, view in enumerate(item.views)
                    ]
                whole = merge(parts, item.views, item.size, tiling) if tiling else parts[0]
                yield self._named(item, whole, floors)

    def _named(self, item: _Prepared, found: Detections, floors: Tensor) -> Prediction:
        found = found.at(found.scores >= floors[found.labels])
        labels = found.labels
        return Prediction(
            item.source,
            item.size,
            found.boxes.numpy(),
            found.scores.numpy(),
            labels.numpy(),
            tuple(self.classes[label] for label in labels.tolist()),
            classes=self.classes,
            category_ids=self.category_ids,
            pixels=item.pixels,
            margins=None if found.margins is None else found.margins.numpy(),
            parts=None if found.parts is None else found.parts.numpy(),
            keypoints=None if found.keypoints is None else found.keypoints.numpy(),
            skeleton=self.skeleton,
        )

    def _detect(self, images: ImageBatch) -> list[Detections]:
        work = self.session.threads.of("detection").unit(images.pixels.numel())
        with number_kept(), work, torch.inference_mode(), self.session.autocast():
            detections = cast(Detector, self.model).detect(images.to(self.session.device))
            return [found.to("cpu") for found in detections]

    def _prepare(
        self, picture: Picture, tiling: Tiling | None, augmentation: Augmentation | None, *, strict: bool
    ) -> _Prepared:
        try:
            pixels = pixels_of(picture)
        except UserError as error:
            if strict or not isinstance(picture, str | Path):
                raise
            return _Prepared(str(picture), None, (0, 0), [], [], str(error))
        size = (pixels.shape[0], pixels.shape[1])
        views = views_of(size, tiling) if tiling else [View(0, 0, size[1], size[0])]
        looks = augmentation.views if augmentation else (self.resize,)
        samples = [
            sample
            for view in views
            for sample in samples_of(pixels[view.y1 : view.y2, view.x1 : view.x2], looks, self.proposer)
        ]
        if isinstance(picture, str | Path):
            return _Prepared(str(picture), None, size, views, samples)
        return _Prepared(None, pixels, size, views, samples)


def samples_of(
    pixels: NDArray[np.uint8], looks: Sequence[Transform], proposer: Proposer | None = None
) -> list[Sample]:
    """Return (H, W, 3) uint8 RGB pixels as a detector takes them, once by each transform.

    There are no objects, and proposals where something makes them.
    """
    nothing = Target.of(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
    if proposer is not None:
        nothing = replace(nothing, proposals=torch.from_numpy(proposer(pixels).boxes))
    image, size = as_image(pixels), (pixels.shape[0], pixels.shape[1])
    return [Sample(*look(image, nothing, np.random.default_rng(0)), size, 0) for look in looks]


def predict_together(predictor: Predictor, files: Sequence[Any], **settings: Any) -> Generator[Prediction]:
    """Return what is in each image, in order, in process 0; for the others nothing, but they work.

    Process r takes images r, r + world size, and so on. All have to iterate to the end.

    Args:
        predictor: in each process, on its own device.
        files: all images, the same in each process.
        settings: see `Predictor.stream`.

    Raises:
        UserError: a setting is wrong; what is wrong with an image is reported when it comes.
    """
    stream = predictor.stream(files[rank() :: world_size()], **settings)
    return stream if world_size() == 1 else _in_turn(stream, -(-len(files) // world_size()))


def _in_turn(stream: Generator[Prediction], most: int) -> Generator[Prediction]:
    for _ in range(-(-most // _ROUND)):
        parts: list[list[Prediction]] | None = [[]] * world_size() if rank() == 0 else None
        dist.gather_object(list(islice(stream, _ROUND)), parts, dst=0)
        for found in chain.from_iterable(zip_longest(*(parts or ()))):
            if found is not None:
                yield found


@dataclass(frozen=True)
class _Prepared:
    source: str | None
    pixels: NDArray[np.uint8] | None
    size: tuple[int, int]
    views: list[View]
    samples: list[Sample]
    error: str | None = None


def _batches(prepared: Iterable[_Prepared], waiting: deque[_Prepared], size: int) -> Iterator[list[Sample]]:
    """Yield the views of all images in batches; an image is among the waiting ones when its first view comes.

    An image that could not be read has none: it ends a batch, so that it is heard of at once.
    """
    batch: list[Sample] = []
    for item in prepared:
        waiting.append(item)
        for sample in item.samples:
            batch.append(sample)
            if len(batch) == size:
                yield batch
                batch = []
        if not item.samples:
            yield batch
            batch = []
    yield batch
