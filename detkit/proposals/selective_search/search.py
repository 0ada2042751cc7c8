"""Selective search: the boxes of all regions met while segmentations are merged step by step."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.config import ModeName
from detkit.proposals.proposals import Proposals, ranked
from detkit.proposals.selective_search.colour_spaces import COLOUR_SPACES, ColourName, ColourPlanes, to_opencv
from detkit.proposals.selective_search.grouping import Hierarchy, Similarity, group
from detkit.proposals.selective_search.region_features import Regions, describe
from detkit.proposals.selective_search.region_texture import gradient_codes, scharr_codes
from detkit.proposals.selective_search.segmentation import PixelGraph, pixel_graph, smooth
from detkit.runtime.compiled import run_all

SIGMA = 0.8

ALL_TERMS = Similarity(colour=True, texture=True, size=True, fill=True)
NO_COLOUR = Similarity(texture=True, size=True, fill=True)
ONLY_FILL = Similarity(fill=True)
ONLY_SIZE = Similarity(size=True)

Weighted = tuple[NDArray[np.int32], NDArray[np.int32]]
"""(N, 4) corner boxes, and (N,) what their random numbers are multiplied by."""


@dataclass(frozen=True)
class SelectiveSearch:
    """Proposals from bottom-up grouping.

    J. Uijlings, K. van de Sande, T. Gevers and A. Smeulders, "Selective Search for Object Recognition",
    IJCV 2013. What is taken from the paper and what from its authors' code, and what OpenCV does
    otherwise, is in `docs/papers/selective_search.md`.

    Attributes:
        mode: how many segmentations are merged by how many rules.
        seed: orders the boxes. The same seed gives the same boxes of an image in the same order, on any
            number of threads and whatever other images are processed.
        max_boxes: keep the first so many of an image; None keeps all.
        num_threads: how many segmentations are worked on at a time. Where several images are, 1 is
            fastest, and the only choice inside `run_all`.

    Raises:
        UserError: there is no such mode, or an image is not (H, W, 3) uint8.

    Example:
        >>> scene = np.full((40, 60, 3), 30, np.uint8)
        >>> scene[10:30, 20:50] = 200, 40, 40
        >>> search = SelectiveSearch(mode="single", seed=0, max_boxes=None)
        >>> search(scene).boxes
        array([[20., 10., 50., 30.],
               [ 0.,  0., 60., 40.],
               [18.,  8., 52., 32.]], dtype=float32)
    """

    mode: ModeName
    seed: int
    max_boxes: int | None
    num_threads: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"selective search: mode must be one of {', '.join(MODES)}, not {self.mode}")

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Return the boxes of an image, (H, W, 3) uint8 RGB; none of an image without pixels."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UserError(
                f"selective search: the image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}"
            )
        if image.size == 0:
            return Proposals.empty()
        mode, image = MODES[self.mode], np.ascontiguousarray(image)
        boxes, priorities = search(image, mode, self.num_threads)
        # Each image draws numbers of its own: a draw that favours poor boxes does not do so in all images.
        generator = np.random.default_rng([self.seed, zlib.crc32(image.data)])
        boxes = put_in_order(boxes, priorities, generator, mode.min_side_px)
        if not len(boxes):
            boxes = np.array([[0, 0, image.shape[1], image.shape[0]]], dtype=np.int32)
        return ranked(boxes.astype(np.float32)).best(self.max_boxes)


@dataclass(frozen=True)
class Layer:
    """An image in one colour space, ready to be segmented and its regions to be measured."""

    colour: ColourPlanes
    codes: NDArray[np.uint8]
    graph: PixelGraph

    @staticmethod
    def of(image: NDArray[np.uint8], name: ColourName, mode: Mode) -> Layer:
        """Convert an image and find its edges and gradients."""
        opencv = mode.opencv
        colour = to_opencv(image, name) if opencv else COLOUR_SPACES[name](image)
        planes = smooth(colour.planes, SIGMA, "mirror" if opencv else "nearest")
        graph = pixel_graph(planes, 4 if opencv else 8, min(mode.scales), colour.copies)
        codes = [scharr_codes(plane) if opencv else gradient_codes(plane) for plane in colour.planes]
        return Layer(colour, np.concatenate(codes), graph)

    def regions(self, k: int, min_size: int, *, opencv: bool) -> Regions:
        """Segment at a scale and measure the regions."""
        return describe(self.graph.segment(k, min_size), self.colour.planes, self.codes, opencv=opencv)


def search(image: NDArray[np.uint8], mode: Mode, num_threads: int) -> Weighted:
    """Return the box of every region, and what its random number is multiplied by: small goes first.

    Args:
        image: (H, W, 3) uint8 RGB, C contiguous.
        mode: what to combine.
        num_threads: how many segmentations are worked on at a time.

    Returns:
        (N, 4) int32 corner boxes with repetitions, and (N,) int32.

    Example:
        >>> flat = np.zeros((30, 30, 3), np.uint8)
        >>> search(flat, MODES["single"], 1)
        (array([[ 0,  0, 30, 30]], dtype=int32), array([1], dtype=int32))
    """
    layers: dict[int, Layer] = {}

    def prepare(part: int) -> None:
        layers[part] = Layer.of(image, mode.colours[part], mode)

    run_all(prepare, range(len(mode.colours)), num_threads)
    results: list[list[Weighted]] = [[] for _ in range(len(mode.colours) * len(mode.scales))]

    def work(part: int) -> None:
        layer, k = layers[part // len(mode.scales)], mode.scales[part % len(mode.scales)]
        regions = layer.regions(k, mode.min_size(k), opencv=mode.opencv)
        hierarchies = [group(regions, similarity) for similarity in mode.similarities]
        results[part] = (by_level if mode.opencv else by_merge)(regions.boxes, hierarchies)

    run_all(work, range(len(results)), num_threads)
    every = [one for result in results for one in result]
    return np.concatenate([boxes for boxes, _ in every]), np.concatenate([weights for _, weights in every])


def by_merge(initial: NDArray[np.int32], hierarchies: list[Hierarchy]) -> list[Weighted]:
    """Give the last merge 1, the first one their number M, and each of the (R, 4) initial boxes M + 1, once.

    Example:
        >>> merges = Hierarchy(boxes=np.zeros((1, 4), np.int32), levels=np.array([2], np.int32))
        >>> [weights.tolist() for _, weights in by_merge(np.zeros((2, 4), np.int32), [merges])]
        [[1], [2, 2]]
    """
    merges = [(one.boxes, np.arange(len(one.boxes), 0, -1, dtype=np.int32)) for one in hierarchies]
    return [*merges, (initial, np.full(len(initial), len(merges[0][0]) + 1, dtype=np.int32))]


def by_level(initial: NDArray[np.int32], hierarchies: list[Hierarchy]) -> list[Weighted]:
    """Give initial boxes 1 and merged ones more than their parts, in each hierarchy: OpenCV's order.

    Example:
        >>> merges = Hierarchy(boxes=np.zeros((1, 4), np.int32), levels=np.array([2], np.int32))
        >>> [weights.tolist() for _, weights in by_level(np.zeros((2, 4), np.int32), [merges])]
        [[1, 1], [2]]
    """
    first = (initial, np.ones(len(initial), dtype=np.int32))
    return [pair for one in hierarchies for pair in (first, (one.boxes, one.levels))]


def put_in_order(
    boxes: NDArray[np.int32], priorities: NDArray[np.int32], generator: np.random.Generator, min_side_px: int
) -> NDArray[np.int32]:
    """Sort boxes by priority times a random number, drop small ones, then keep the first of equal ones.

    Args:
        boxes: (N, 4) corner boxes.
        priorities: (N,).
        generator: of the random numbers, in [0, 1).
        min_side_px: least width and height.

    Returns:
        (M, 4).

    Example:
        >>> boxes = np.array([[0, 0, 9, 9], [0, 0, 2, 9], [0, 0, 9, 9]], np.int32)
        >>> put_in_order(boxes, np.array([1, 1, 5], np.int32), np.random.default_rng(0), min_side_px=5)
        array([[0, 0, 9, 9]], dtype=int32)
    """
    order = np.argsort(generator.random(len(boxes)) * priorities, kind="stable")
    boxes = boxes[order]
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= min_side_px).all(axis=1)]
    rows = np.ascontiguousarray(boxes).view(np.dtype((np.void, boxes.dtype.itemsize * 4))).reshape(-1)
    _, first = np.unique(rows, return_index=True)
    return boxes[np.sort(first)]


@dataclass(frozen=True)
class Mode:
    """Every colour space is segmented at every scale, and every segmentation is grouped by every similarity.

    Attributes:
        colours: spaces to segment and to compare regions in.
        scales: the k of the segmentation.
        similarities: what makes regions alike.
        opencv: whether all the rest is as in OpenCV (`docs/papers/selective_search.md`), or as the paper
            and its authors' code have it.
    """

    colours: tuple[ColourName, ...]
    scales: tuple[int, ...]
    similarities: tuple[Similarity, ...]
    opencv: bool = False

    def min_size(self, k: int) -> int:
        """Return the pixels of the smallest region that a segmentation leaves."""
        return 100 if self.opencv else k

    @property
    def min_side_px(self) -> int:
        """Boxes that are narrower or lower are dropped."""
        return 1 if self.opencv else 20


MODES: dict[ModeName, Mode] = {
    "single": Mode(("hsv",), (100,), (ALL_TERMS,)),
    "fast": Mode(("hsv", "lab"), (50, 100), (ALL_TERMS, NO_COLOUR)),
    "quality": Mode(
        ("hsv", "lab", "rgi", "hue", "intensity"),
        (50, 100, 150, 300),
        (ALL_TERMS, NO_COLOUR, ONLY_FILL, ONLY_SIZE),
    ),
    "opencv_single": Mode(("hsv",), (200,), (ALL_TERMS,), opencv=True),
    "opencv_fast": Mode(("hsv", "lab"), (150, 300, 450), (ALL_TERMS, NO_COLOUR), opencv=True),
    "opencv_quality": Mode(
        ("hsv", "lab", "intensity", "hue", "rgi"),
        (150, 300, 450, 600, 750),
        (ALL_TERMS, NO_COLOUR, ONLY_FILL, ONLY_SIZE),
        opencv=True,
    ),
}
