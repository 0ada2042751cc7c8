"""Features of the regions of training images: read by the network, and kept on the disk or read again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.capabilities import Layer, ReadsRegions
from detkit.data.datasets.source import Source
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.transforms.geometric import Transform
from detkit.errors import UserError
from detkit.runtime.memory import shown_bytes
from detkit.runtime.processes import from_main, rank, world_size
from detkit.runtime.progress import ProgressLine, say
from detkit.runtime.session import Session
from detkit.storage.atomic import durable_file
from detkit.training.staged.ridge import BoxExamples, box_examples
from detkit.training.staged.stage_files import mapped
from detkit.training.staged.vector_file import Kept, VectorFile

Floats = NDArray[np.float32]

TARGET_NORM = 20.0
MOST_IMAGES, MOST_BOXES = 200, 200
_CHOICE = 7  # keeps this random stream apart from others of the same seed
_IMAGES_A_FLUSH = 32


class Vectors(Protocol):
    """Features of the regions of images."""

    def decision(self, image: int, rows: NDArray[np.int64] | None = None) -> Floats:
        """Return (R, D) vectors of the layer that the SVMs see; of all regions, or some."""
        ...

    def pool5(self, image: int, rows: NDArray[np.int64]) -> Floats:
        """Return (E, D) pool5 of some of the regions that box regression learns from."""
        ...

    def pool5_norms(self, image: int, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return (r,) lengths of the pool5 of any regions."""
        ...


@dataclass(frozen=True)
class RegionReader:
    """Runs the network over regions of one image at a time, whenever their features are asked for.

    Attributes:
        session: where.
        model: the detector, on the session's device.
        regions: the regions of each image.
        images: the images, as a test sees them, with these regions.
    """

    session: Session
    model: ReadsRegions
    regions: TrainingRegions
    images: DetectionDataset

    @staticmethod
    def of(
        session: Session, model: nn.Module, source: Source, transforms: Sequence[Transform]
    ) -> RegionReader:
        """Return a reader of a dataset's regions.

        Args:
            session: where the network runs.
            model: a detector with the capability `ReadsRegions`.
            source: the images, with proposals.
            transforms: what every image goes through in a test.
        """
        regions = TrainingRegions.of(source)
        images = DetectionDataset(regions.index, source.pixels, transforms, 0, regions)
        return RegionReader(session, cast(ReadsRegions, model), regions, images)

    def __call__(self, image: int, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[Floats, Floats]]:
        """Yield float32 pool5 and decisive vectors of an image's regions, some at a time.

        Args:
            image: index of the image.
            rows: which regions; None takes all.

        Raises:
            UserError: the image cannot be read.
        """
        device = self.session.device
        batch = collate([self.images[Key(0, image)]], seed=0).images.to(device)
        assert batch.proposals is not None
        boxes = batch.proposals[0]
        chosen = boxes if rows is None else boxes[torch.from_numpy(rows).to(device)]
        if len(chosen) == 0:
            return
        with torch.inference_mode(), self.session.autocast():
            parts = self.model.read(batch, chosen)
            for pool5, vectors in self.session.threads.of("features").making(parts, len(chosen)):
                yield pool5.float().cpu().numpy(), vectors.float().cpu().numpy()

    def together(self, image: int, rows: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
        """Return float32 pool5 and decisive vectors of an image's regions at once."""
        layers: tuple[Layer, Layer] = ("pool5", self.model.layer)
        empty = [np.zeros((0, self.model.widths[layer]), np.float32) for layer in layers]
        pool5, vectors = zip(empty, *self(image, rows), strict=True)
        return np.concatenate(pool5), np.concatenate(vectors)

    def decision(self, image: int, rows: NDArray[np.int64] | None = None) -> Floats:
        """Return (R, D) vectors of the layer that the SVMs see; of all regions, or some."""
        return self.together(image, rows)[1]

    def pool5(self, image: int, rows: NDArray[np.int64]) -> Floats:
        """Return (E, D) pool5 of some of the regions."""
        return self.together(image, rows)[0]

    def pool5_norms(self, image: int, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return (r,) lengths of the pool5 of some of the regions."""
        return lengths(self.pool5(image, rows))


class CachedVectors:
    """Features on the disk: what the SVMs see of every region, and pool5 of those regression learns from.

    Of the pool5 of all other regions the length alone is kept, where the SVMs' features come with it.

    Args:
        folder: where the files are, or are to be.
        reader: computes them.
        kept: their type on the disk.
        min_iou: box regression learns from regions that overlap an object by more than this; None: there
            is none.
        for_svms: whether there are SVMs.
    """

    def __init__(
        self, folder: Path, reader: RegionReader, kept: Kept, *, min_iou: float | None, for_svms: bool
    ) -> None:
        self.folder, self.reader = folder, reader
        model, regions = reader.model, reader.regions
        self.examples: list[NDArray[np.int64]] = []
        if min_iou is not None:
            found = (regression_examples(reader, image, min_iou) for image in range(len(regions)))
            self.examples = [examples.rows.numpy() for examples in found]
        self._shared = for_svms and model.layer == "pool5"
        num_examples = np.array([len(rows) for rows in self.examples], dtype=np.int64)
        self._files: dict[str, VectorFile] = {}
        if for_svms:
            width = model.widths[model.layer]
            self._files["decision"] = VectorFile(folder / f"{model.layer}.npy", regions.counts(), width, kept)
        if self.examples and not self._shared:
            width = model.widths["pool5"]
            self._files["pool5"] = VectorFile(folder / "pool5_of_examples.npy", num_examples, width, kept)
            if for_svms:
                self._files["norms"] = VectorFile(folder / "pool5_norms.npy", regions.counts(), 1, "fp32")
        self._done = folder / "done.npy"

    @property
    def num_bytes(self) -> int:
        """Size on the disk."""
        return sum(file.num_bytes for file in self._files.values())

    def decision(self, image: int, rows: NDArray[np.int64] | None = None) -> Floats:
        """Return (R, D) vectors of the layer that the SVMs see; of all regions, or some."""
        return self._files["decision"].get(image, slice(None) if rows is None else rows)

    def pool5(self, image: int, rows: NDArray[np.int64]) -> Floats:
        """Return (E, D) pool5 of some of the regions that box regression learns from."""
        if self._shared:
            return self.decision(image, rows)
        return self._files["pool5"].get(image, np.searchsorted(self.examples[image], rows))

    def pool5_norms(self, image: int, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return (r,) lengths of the pool5 of any regions."""
        if self._shared:
            return lengths(self.decision(image, rows))
        if "norms" in self._files:
            return self._files["norms"].get(image, rows)[:, 0]
        return self.reader.pool5_norms(image, rows)

    def fill(self) -> None:
        """Compute what is not there yet; each process takes its share of the images.

        Raises:
            UserError: the disk cannot hold them, or an image cannot be read.
        """
        from_main(self._create)
        num_images = len(self.reader.regions)
        done = mapped(self._done, "r+", (num_images,), np.uint8)
        missing = [image for image in range(rank(), num_images, world_size()) if not done[image]]
        with ProgressLine("features", len(missing)) as progress:
            for start in range(0, len(missing), _IMAGES_A_FLUSH):
                some = missing[start : start + _IMAGES_A_FLUSH]
                for number, image in enumerate(some, start + 1):
                    self._fill_image(image)
                    progress(number)
                for file in self._files.values():
                    file.flush()
                done[some] = 1  # only now: an image that is called done has its features on the disk
                done.flush()

    def _fill_image(self, image: int) -> None:
        if "decision" not in self._files:
            rows = self.examples[image]
            self._files["pool5"].put(image, (pool5 for pool5, _ in self.reader(image, rows)))
            return
        wanted = self.examples[image] if "pool5" in self._files else np.zeros(0, np.int64)
        taken, vectors, norms, at = [], [], [], 0
        for pool5, decisive in self.reader(image):
            vectors.append(decisive)
            norms.append(lengths(pool5)[:, None].astype(np.float32))
            taken.append(pool5[wanted[(wanted >= at) & (wanted < at + len(pool5))] - at])
            at += len(pool5)
        self._files["decision"].put(image, vectors)
        if "pool5" in self._files:
            self._files["pool5"].put(image, taken)
            self._files["norms"].put(image, norms)

    def _create(self) -> None:
        """Say how large the files are, refuse them where there is no room, and make them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._done.exists():
            return
        parts = ", ".join(
            f"{file.file.stem} {file.shape[0]:,} x {file.shape[1]:,} {file.kept}: "
            f"{shown_bytes(file.num_bytes)}"
            for file in self._files.values()
        )
        free = shutil.disk_usage(self.folder).free
        say(f"features take {shown_bytes(self.num_bytes)} ({parts}); {shown_bytes(free)} are free")
        if self.num_bytes > free:
            raise UserError(
                f"train.cache: the features of all regions take {shown_bytes(self.num_bytes)} and "
                f"{self.folder} has {shown_bytes(free)}; train.cache=none computes them when needed, "
                "fp16 takes half of fp32, and --out names another disk"
            )
        for file in self._files.values():
            file.create()
        with durable_file(self._done) as part, part.open("wb") as stream:
            np.save(stream, np.zeros(len(self.reader.regions), np.uint8))


def regression_examples(reader: RegionReader, image: int, min_iou: float) -> BoxExamples:
    """Return which regions of an image box regression learns from, and what."""
    regions, objects = reader.regions, reader.regions.objects(image)
    return box_examples(regions.boxes(image), objects.boxes, objects.labels, min_iou)


def lengths(vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the (R,) float64 Euclidean norms of (R, D) vectors."""
    norms: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return norms


def feature_scale(
    norms: Callable[[int, NDArray[np.int64]], NDArray[np.floating[Any]]],
    counts: NDArray[np.int64],
    seed: int,
) -> float:
    """Return the factor that makes the mean norm of features 20: one for all, so that lengths keep meaning.

    The mean is taken over at most 200 regions of each of at most 200 images, chosen at random among all.

    Args:
        norms: returns the (r,) lengths of the features of some regions of an image.
        counts: (N,) regions of each image.
        seed: seeds the choice.

    Raises:
        UserError: there are no boxes, or their features are all 0 or not finite.

    Reference: Girshick et al., R-CNN, CVPR 2014.
    """
    chance = np.random.default_rng([_CHOICE, seed])
    images = np.sort(chance.permutation(len(counts))[:MOST_IMAGES])
    total, count = 0.0, 0
    for image in images.tolist():
        chosen = np.sort(chance.permutation(int(counts[image]))[:MOST_BOXES])
        total += float(norms(image, chosen).sum(dtype=np.float64))
        count += len(chosen)
    if count == 0:
        raise UserError("features: none of the training images has a box to take features from")
    if not np.isfinite(total) or total == 0:
        raise UserError(
            f"features: their mean norm over {count} boxes is {total / count}; the network's weights give "
            "nothing to learn from. Check backbone.weights"
        )
    return TARGET_NORM * count / total
