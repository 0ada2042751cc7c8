from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from detkit.proposals.selective_search.grouping import Similarity, group
from detkit.proposals.selective_search.region_features import Regions
from tests.reference import segmentation as reference


def mosaic(seed: int, rows: int, columns: int) -> Regions:
    """A grid of rectangles with random contents; neighbours share a side."""
    draw = np.random.default_rng(seed)
    ys, xs = (np.concatenate(([0], draw.integers(1, 9, n).cumsum())) for n in (rows, columns))
    boxes, pairs = [], []
    for i in range(rows):
        for j in range(columns):
            here = i * columns + j
            boxes.append((xs[j], ys[i], xs[j + 1], ys[i + 1]))
            pairs += [(here, here + 1)] * (j + 1 < columns) + [(here, here + columns)] * (i + 1 < rows)
    corners = np.array(boxes, np.int32)
    sizes = np.prod(corners[:, 2:] - corners[:, :2], axis=1).astype(np.int32)
    histograms = [draw.dirichlet(np.full(num, 0.2), len(boxes)).astype(np.float32) for num in (75, 80)]
    return Regions(corners, sizes, *histograms, np.array(sorted(pairs), np.int32), int(xs[-1] * ys[-1]))


def expected(regions: Regions, terms: str) -> list[reference.Box]:
    parts = [
        {"box": box, "size": size, "colour": colour, "texture": texture}
        for box, size, colour, texture in zip(
            regions.boxes.astype(float),
            regions.sizes.astype(float),
            regions.colour.astype(float),
            regions.texture.astype(float),
            strict=True,
        )
    ]
    alike = partial(reference.similarity, terms, image_size=regions.image_size)
    return reference.group(parts, [(a, b) for a, b in regions.pairs.tolist()], lambda a, b: alike(a=a, b=b))


def similarity(terms: str) -> Similarity:
    return Similarity(colour="c" in terms, texture="t" in terms, size="s" in terms, fill="f" in terms)


@pytest.mark.parametrize("terms", ["ctsf", "tsf", "f", "s", "c", "t", "cts"])
@pytest.mark.parametrize("seed", range(3))
def test_merges_are_those_of_the_algorithm(terms: str, seed: int) -> None:
    regions = mosaic(seed, 6, 7)
    found = group(regions, similarity(terms))
    assert len(found.boxes) == 41
    if terms in ("s", "f"):  # ties, which the precision of a sum decides
        assert found.boxes[-1].tolist() == [0, 0, *regions.boxes[:, 2:].max(0)]
    else:
        assert [tuple(box) for box in found.boxes.tolist()] == expected(regions, terms)


def test_size_takes_the_smallest_pair_each_time() -> None:
    regions = mosaic(1, 1, 9)
    sizes, boxes = regions.sizes.tolist(), []
    cells = [(box[0], box[2]) for box in regions.boxes.tolist()]
    while len(cells) > 1:
        first = min(range(len(cells) - 1), key=lambda i: cells[i + 1][1] - cells[i][0])
        cells[first : first + 2] = [(cells[first][0], cells[first + 1][1])]
        boxes.append(cells[first][1] - cells[first][0])
    found = group(regions, Similarity(size=True)).boxes
    assert sorted((found[:, 2] - found[:, 0]).tolist()) == sorted(boxes)
    assert sum(sizes) == regions.image_size


def test_a_region_with_many_neighbours() -> None:
    """The pool of edges is swept several times, and nothing is lost."""
    draw = np.random.default_rng(0)
    num = 300
    colour = draw.dirichlet(np.full(75, 0.2), num).astype(np.float32)
    pairs = np.array([(0, other) for other in range(1, num)], np.int32)
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.int32), (num, 1))
    boxes[:, 2] += np.arange(num)
    star = Regions(boxes, draw.integers(1, 9, num).astype(np.int32), colour, colour, pairs, 10**6)
    found = group(star, Similarity(colour=True))
    assert [tuple(box) for box in found.boxes.tolist()] == expected(star, "c")


def test_levels_count_the_merges_below() -> None:
    regions = mosaic(2, 1, 2)
    assert group(regions, Similarity(fill=True)).levels.tolist() == [2]
    chain = mosaic(2, 1, 3)
    assert group(chain, Similarity(fill=True)).levels.tolist() == [2, 3]


def test_regions_that_do_not_touch_stay_apart() -> None:
    regions = mosaic(3, 1, 4)
    apart = Regions(
        regions.boxes,
        regions.sizes,
        regions.colour,
        regions.texture,
        regions.pairs[[0, 2]],
        regions.image_size,
    )
    assert len(group(apart, Similarity(fill=True)).boxes) == 2


def test_one_region_has_nothing_to_merge_with() -> None:
    none = np.zeros((1, 0), np.float32)
    box, pairs = np.array([[0, 0, 1, 1]], np.int32), np.zeros((0, 2), np.int32)
    alone = Regions(box, np.ones(1, np.int32), none, none, pairs, 1)
    assert group(alone, Similarity(colour=True, size=True)).boxes.shape == (0, 4)
