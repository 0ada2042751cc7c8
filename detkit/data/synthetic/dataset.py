"""The embedded dataset: textured shapes among clutter, rendered when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.keypoints import KeypointLayout
from detkit.annotations.writers import Format, image_folder, write_dataset
from detkit.data.synthetic.scenes import paint_scene, plan_scene
from detkit.data.synthetic.shapes import KEYPOINTS, WITH_KEYPOINTS, Pixels
from detkit.errors import UserError
from detkit.storage.atomic import write_atomically
from detkit.storage.run_folder import require_empty

SYNTHETIC = "synthetic"
"""Name of the embedded dataset wherever a dataset can be named."""

NUM_SYNTHETIC = {"train": 400, "val": 100}
"""Images of its sets; the seed of a set is its place among them."""

SYNTHETIC_CLASSES = ("disc", "ring", "square", "star", "triangle")
"""The shapes that are objects."""

SYNTHETIC_SHAPES = (*SYNTHETIC_CLASSES, *WITH_KEYPOINTS)
"""Shapes that can be asked for: with those whose corners are key points, because none looks like another."""

SYNTHETIC_LAYOUT = KeypointLayout(KEYPOINTS, ((0, 1), (1, 2), (2, 3), (3, 0)))


class SyntheticSet:
    """Images of textured shapes that hide one another, before photographs, digits and clutter.

    Each image depends on the seed and its own index alone, so a set of 10 begins like a set of 1000,
    and workers need not share anything. Planning (shapes and boxes) and painting (pixels) draw from
    separate streams, so that annotations cost no painting.

    Args:
        num_images: N, how many.
        seed: which images; train and val need different ones.
        classes: names from `SYNTHETIC_SHAPES`, in label order.

    Raises:
        UserError: a class is not one of these.
    """

    def __init__(self, num_images: int, seed: int = 0, classes: Sequence[str] = SYNTHETIC_CLASSES) -> None:
        unknown = [name for name in classes if name not in SYNTHETIC_SHAPES]
        if unknown or not classes:
            raise UserError(
                f"data.classes: the synthetic set has {', '.join(SYNTHETIC_SHAPES)}; "
                f"found {', '.join(map(repr, unknown)) or 'none'}"
            )
        self.num_images = num_images
        self.seed = seed
        self.classes = tuple(classes)

    def annotations(self) -> AnnotationSet:
        """Return the annotations, box format "voc"; images are named 000000 and so on, in `synthetic`.

        There are key points where a class has some.
        """
        assembly, points = Assembly("voc"), [np.zeros((0, len(KEYPOINTS), 3))]
        for index in range(self.num_images):
            plan = plan_scene(self._rng(index, 0), self.classes)
            assembly.add_image(f"{index:06d}", (plan.height, plan.width), f"synthetic (seed {self.seed})")
            for label, box in zip(plan.labels.tolist(), plan.boxes.tolist(), strict=True):
                assembly.add_object(self.classes[label], box)
            points.append(plan.keypoints)
        ids = range(1, len(self.classes) + 1)
        truth = assembly.build(SYNTHETIC, self.classes, assembly.labels(self.classes), ids)
        if not set(self.classes) & set(WITH_KEYPOINTS):
            return truth
        return replace(truth, keypoints=np.concatenate(points), layout=SYNTHETIC_LAYOUT)

    def render(self, index: int) -> Pixels:
        """Return the (height, width, 3) RGB pixels of image `index`, the number in its file name."""
        return paint_scene(plan_scene(self._rng(index, 0), self.classes), self._rng(index, 1))

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, index, stream])))


def is_embedded(dataset: str) -> bool:
    """Return whether a name means the embedded dataset; a file or folder of that name comes first."""
    return dataset == SYNTHETIC and not Path(dataset).exists()


def embedded_set(name: str) -> SyntheticSet:
    """Return a set of the embedded dataset, train or val."""
    return SyntheticSet(NUM_SYNTHETIC[name], seed=list(NUM_SYNTHETIC).index(name))


def write_synthetic(
    folder: Path,
    dataset_format: Format,
    num_train: int,
    num_val: int,
    seed: int = 0,
    extension: str = ".jpg",
) -> dict[str, AnnotationSet]:
    """Write the embedded dataset as a real folder with train and val, and return the annotations of both.

    The images of train have the seed given, those of val the next one.

    Args:
        folder: where it goes; it must be empty or absent.
        dataset_format: voc, coco, yolo or labelme.
        num_train: images in train.
        num_val: images in val.
        seed: which images.
        extension: .jpg (quality 95) or .png (pixel for pixel).

    Raises:
        UserError: the folder holds files already.
    """
    if folder.exists():
        require_empty(folder)
    splits = {}
    for offset, (split, count) in enumerate(zip(NUM_SYNTHETIC, (num_train, num_val), strict=True)):
        source = SyntheticSet(count, seed + offset)
        truth = source.annotations()
        names = [f"{split}_{index:06d}{extension}" for index in range(count)]
        place = image_folder(folder, dataset_format, split)
        for index, name in enumerate(names):
            _, data = cv2.imencode(extension, source.render(index)[..., ::-1])  # JPEG: quality 95
            write_atomically(place / name, data.tobytes(), sync=False)
        splits[split] = replace(truth, image_files=np.asarray(names, dtype=np.str_))
    write_dataset(folder, dataset_format, splits)
    return splits
