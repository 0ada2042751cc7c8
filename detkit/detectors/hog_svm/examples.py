"""What the SVMs of HOG are fitted to: objects, windows at random, and hard ones found in whole images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.data.loading.samples import DetectionDataset, Key
from detkit.detectors.hog_svm.model import HOGSVM
from detkit.models.assignment import CROWD_IOU
from detkit.models.hog.cut_windows import Windows, windows_around
from detkit.models.hog.descriptor import HOG, Floats, Pixels
from detkit.models.hog.pyramid import Size, matches
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Target
from detkit.training.staged.decision import negatives_of_classes
from detkit.training.staged.mining_state import MiningState

MOST_AREA_PX = 64 * 96
FITTING_IOU = 0.5
_POSITIVES, _NEGATIVES = 11, 12  # keep random streams apart


def measured_windows(
    boxes: NDArray[np.floating],
    labels: NDArray[np.integer],
    num_classes: int,
    hog: HOG,
    context_px: int,
) -> list[Size]:
    """Return the (height, width) of a window for each class, in pixels: the shape of its objects.

    Width over height is the median of the objects'. The object in the window is as large as the fifth part
    of the objects that are smallest, since objects below the window are not found, but no larger than a
    person in the paper's window. Sides are rounded to whole blocks.

    Args:
        boxes: (M, 4) corner boxes in pixels.
        labels: (M,) their classes.
        num_classes: K; one without objects gets a window of one block.
        hog: the descriptor's parameters.
        context_px: pixels of the window around the object, on every side.

    Reference: Felzenszwalb et al., PAMI 2010, section 5.2 (area and aspect of root filters).
    """
    windows = []
    for label in range(num_classes):
        sides = np.maximum(boxes[labels == label, 2:] - boxes[labels == label, :2], 1)
        if not len(sides):
            windows.append((hog.block_px, hog.block_px))
            continue
        aspect = float(np.exp(np.median(np.log(sides[:, 0] / sides[:, 1]))))
        area = min(float(np.percentile(sides.prod(axis=1), 20)), MOST_AREA_PX / 2)
        object_sides = np.sqrt(area / aspect), np.sqrt(area * aspect)
        height, width = (
            hog.length_px(max(round((side + 2 * context_px - hog.block_px) / hog.stride_px) + 1, 1))
            for side in object_sides
        )
        least = hog.length_px(hog.num_blocks(2 * context_px) + 1)  # leaves room for the object
        windows.append((max(height, least), max(width, least)))
    return windows


@dataclass(frozen=True)
class Variation:
    """How objects are varied.

    Attributes:
        mirror: take each mirrored, too.
        jitter: so many more copies that are moved and resized a little.
        jitter_px: how far each of their edges goes, at most, in pixels of the window.
    """

    mirror: bool
    jitter: int
    jitter_px: int

    def apply(self, windows: Windows, window: Size, chance: np.random.Generator) -> Windows:
        """Return the windows, and moved and resized copies of them."""
        corners, scales = [windows.corners], [windows.scales]
        reach = self.jitter_px / np.array(window[::-1])
        for _ in range(self.jitter):
            shape = (len(windows.scales), 2)
            first, last = chance.uniform(-1, 1, shape) * reach, chance.uniform(-1, 1, shape) * reach
            grown = np.exp((last - first).mean(axis=1) / 2)
            sides = windows.scales[:, None] * np.array(window[::-1])
            centres = windows.corners + sides * (0.5 + (first + last) / 2)
            corners.append(centres - sides * grown[:, None] / 2)
            scales.append(windows.scales * grown)
        return Windows(np.concatenate(corners), np.concatenate(scales))


@dataclass(frozen=True)
class HOGExamples:
    """Features of windows, as mining asks for them, in turns.

    In the first turn all images give windows at random; then each image in turn, round after round, gives
    the windows that the present planes take for objects.

    Attributes:
        model: says how windows are described; its templates have the windows' sizes.
        images: as a test sees them.
        state: of the mining, whose planes choose.
        variation: how objects are varied.
        rounds: how often the images are searched.
        random_negatives: windows of an image and class in the first turn.
        hard_per_image: most hard negatives of an image and class.
        hard_above: windows above this margin are hard.
        negative_iou: a window is a negative below this IoU with each object of the class.
        seed: seeds windows at random and the variation.
    """

    model: HOGSVM
    images: DetectionDataset
    state: MiningState
    variation: Variation
    rounds: int
    random_negatives: int
    hard_per_image: int
    hard_above: float
    negative_iou: float
    seed: int

    @property
    def width(self) -> int:
        """Length of a feature vector: that of the largest window."""
        return max(self.model.template(k).weight.numel() for k in range(self.model.num_classes))

    def __len__(self) -> int:
        return 1 + self.rounds * len(self.images)

    def positives(self, turn: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return (P, D) features of all objects, in the first turn, and their (P,) classes.

        Objects of another shape than the window's, which it would not find, are left out.
        """
        features, labels = [np.zeros((0, self.width), np.float32)], [np.zeros(0, np.int64)]
        for image in range(len(self.images)) if turn == 0 else ():
            pixels, target = self._read(image)
            chance = np.random.default_rng([_POSITIVES, self.seed, image])
            chosen = ~(target.difficult | target.crowd)
            for label in sorted(set(target.labels[chosen].tolist())):
                boxes = target.boxes[chosen & (target.labels == label)].numpy()
                of_class = self._positives_of(pixels, boxes, label, chance)
                features.append(of_class)
                labels.append(np.full(len(of_class), label))
        return np.concatenate(features), np.concatenate(labels)

    def candidates(self, turn: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (N, D) features of windows that are no objects, and (N, K) of which class each is one."""
        if turn == 0:
            each = [self._random(image) for image in range(len(self.images))]
            found = [np.concatenate(parts) for parts in zip(*each, strict=True)] if each else []
        else:
            found = list(self._hard((turn - 1) % len(self.images)))
        features, labels = found
        return features, labels[:, None] == np.arange(self.model.num_classes)

    def _read(self, image: int) -> tuple[Pixels, Target]:
        sample = self.images[Key(0, image)]
        return sample.image.permute(1, 2, 0).contiguous().numpy(), sample.target

    def _positives_of(self, pixels: Pixels, boxes: Floats, label: int, chance: np.random.Generator) -> Floats:
        window, context_px = self.model.window(label), self.model.context_px
        around = windows_around(boxes, window, context_px)
        meant = torch.from_numpy(around.objects(window, context_px)).float()
        fits = (pairwise_iou(meant, torch.from_numpy(boxes)).diagonal() >= FITTING_IOU).numpy()
        around = Windows(around.corners[fits], around.scales[fits])
        return self._described(
            pixels, self.variation.apply(around, window, chance), label, mirror=self.variation.mirror
        )

    def _described(self, pixels: Pixels, windows: Windows, label: int, *, mirror: bool = False) -> Floats:
        """Return (N, D) features of windows cut out of an image; see `HOGSVM.described`."""
        return self._padded(self.model.described(pixels, windows, label, mirror=mirror))

    def _padded(self, features: Floats) -> Floats:
        """Return features with zeros behind those of smaller windows."""
        return np.pad(features, ((0, 0), (0, self.width - features.shape[1])))

    def _random(self, image: int) -> tuple[Floats, NDArray[np.int64]]:
        pixels, target = self._read(image)
        chance = np.random.default_rng([_NEGATIVES, self.seed, image])
        features, labels = [np.zeros((0, self.width), np.float32)], [np.zeros(0, np.int64)]
        for label in range(self.model.num_classes):
            window, size = self.model.window(label), np.array(pixels.shape[1::-1])
            scales = np.array(self.model.pyramid.scales((size[1], size[0]), window))
            drawn = chance.choice(scales, self.random_negatives)
            room = np.maximum(size - drawn[:, None] * np.array(window[::-1]), 0)
            windows = Windows(chance.uniform(0, 1, room.shape) * room, drawn)
            kept = self._negative(windows.objects(window, self.model.context_px), target, label)
            chosen = Windows(windows.corners[kept], windows.scales[kept])
            features.append(self._described(pixels, chosen, label))
            labels.append(np.full(len(chosen.scales), label))
        return np.concatenate(features), np.concatenate(labels)

    def _negative(self, boxes: NDArray[np.floating], target: Target, label: int) -> NDArray[np.bool_]:
        negative = negatives_of_classes(
            torch.from_numpy(boxes).float(),
            target,
            self.model.num_classes,
            below_iou=self.negative_iou,
            crowd_iou=CROWD_IOU,
        )
        of_class: NDArray[np.bool_] = negative[:, label].numpy()
        return of_class

    def _hard(self, image: int) -> tuple[Floats, NDArray[np.int64]]:
        pixels, target = self._read(image)
        levels = self.model.levels(pixels)
        features, labels = [np.zeros((0, self.width), np.float32)], [np.zeros(0, np.int64)]
        for label in np.flatnonzero(self.state.trained).tolist():
            shape = self.model.template(label).weight.shape
            plane = torch.from_numpy(self.state.weights[label, : shape.numel()]).view(shape)
            boxes, margins, rows = [], [], []
            for level, places, found in matches(
                levels,
                plane,
                float(self.state.bias[label]),
                self.model.num_levels((pixels.shape[0], pixels.shape[1]), label),
                self.hard_above,
            ):
                worst = np.argsort(-found, kind="stable")[: self.hard_per_image]
                boxes.append(level.boxes(places[worst], self.model.window(label)))
                margins.append(found[worst])
                rows.append(level.features(places[worst], (shape[1], shape[2])).reshape(-1, shape.numel()))
            objects = self.model.objects(np.concatenate(boxes), label)
            negative = np.flatnonzero(self._negative(objects, target, label))
            order = np.argsort(-np.concatenate(margins)[negative], kind="stable")[: self.hard_per_image]
            features.append(self._padded(np.concatenate(rows)[negative[order]]))
            labels.append(np.full(len(order), label))
        return np.concatenate(features), np.concatenate(labels)
