from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.selective_search import search as selective_search
from detkit.proposals.selective_search.colour_spaces import to_hsv
from detkit.proposals.selective_search.grouping import Hierarchy
from detkit.proposals.selective_search.region_texture import gradient_codes
from detkit.proposals.selective_search.search import (
    MODES,
    Layer,
    SelectiveSearch,
    by_level,
    by_merge,
    put_in_order,
)
from detkit.proposals.selective_search.segmentation import pixel_graph, smooth


def scene() -> NDArray[np.uint8]:
    """Discs and rectangles of many colours on a slope, with noise."""
    draw = np.random.default_rng(1)
    image = np.full((90, 120, 3), 90, np.uint8)
    image[..., 0] += np.arange(120, dtype=np.uint8)
    for _ in range(14):
        x, y, side = (int(draw.integers(low, high)) for low, high in ((0, 110), (0, 80), (8, 40)))
        colour = draw.integers(0, 256, 3).tolist()
        if draw.random() < 0.5:
            cv2.circle(image, (x, y), side // 2, colour, -1)
        else:
            cv2.rectangle(image, (x, y), (x + side, y + side), colour, -1)
    return np.clip(image + draw.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


SCENE = scene()


def search(mode: str, image: NDArray[np.uint8] = SCENE, **changed: object) -> NDArray[np.float32]:
    settings = {"seed": 0, "max_boxes": None, "num_threads": 1} | changed
    return SelectiveSearch(mode=mode, **settings)(image).boxes


@pytest.mark.parametrize("mode", MODES)
def test_boxes_lie_in_the_image_and_differ(mode: str) -> None:
    found = SelectiveSearch(mode=mode, seed=0, max_boxes=None)(SCENE)
    boxes = found.boxes
    assert boxes.dtype == found.scores.dtype == np.float32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [120, 90]).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes) > 5
    assert [0, 0, 120, 90] in boxes.tolist()
    assert (np.diff(found.scores) < 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_threads_do_not_change_the_boxes(mode: str) -> None:
    assert (search(mode, num_threads=2) == search(mode)).all()


def test_the_seed_changes_the_order_only() -> None:
    first, second = search("fast"), search("fast", seed=1)
    assert (search("fast") == first).all()
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == sorted(second.tolist())


def test_each_image_draws_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.stack([np.zeros(50), np.zeros(50), np.arange(50) + 30, np.full(50, 30)], axis=1)
    found = boxes.astype(np.int32), np.ones(50, np.int32)
    monkeypatch.setattr(selective_search, "search", lambda *_: found)
    orders = [search("fast", image).tolist() for image in (SCENE, SCENE[::-1], SCENE)]
    assert orders[0] == orders[2] != orders[1]


def test_max_boxes_keeps_the_first() -> None:
    assert (search("fast", max_boxes=5) == search("fast")[:5]).all()


def test_more_strategies_find_more() -> None:
    counts = [len(search(mode)) for mode in ("single", "fast", "quality")]
    assert counts == sorted(set(counts))


def test_modes_combine_what_the_papers_tables_say() -> None:
    combined = {
        name: len(mode.colours) * len(mode.scales) * len(mode.similarities) for name, mode in MODES.items()
    }
    assert combined == {
        "single": 1, "fast": 8, "quality": 80, "opencv_single": 1, "opencv_fast": 12, "opencv_quality": 100,
    }  # fmt: skip
    assert [MODES["fast"].min_size(k) for k in MODES["fast"].scales] == [50, 100]
    assert {MODES["opencv_fast"].min_size(k) for k in MODES["opencv_fast"].scales} == {100}


def test_fast_and_quality_are_the_papers() -> None:
    terms = [("ctsf", "tsf"), ("ctsf", "tsf", "f", "s")]
    for mode, colours, scales, similarities in (
        ("fast", ("hsv", "lab"), (50, 100), terms[0]),
        ("quality", ("hsv", "lab", "rgi", "hue", "intensity"), (50, 100, 150, 300), terms[1]),
    ):
        assert (MODES[mode].colours, MODES[mode].scales) == (colours, scales)
        initials = [
            "".join(name[0] for name, used in vars(s).items() if used) for s in MODES[mode].similarities
        ]
        assert tuple(initials) == similarities


def test_a_layer_is_smoothed_then_segmented_and_every_plane_of_it_measured() -> None:
    layer = Layer.of(SCENE, "hsv", MODES["fast"])
    planes = to_hsv(SCENE).planes
    assert (layer.codes == np.concatenate([gradient_codes(plane) for plane in planes])).all()
    for k in (50, 100):
        parts = pixel_graph(smooth(planes, 0.8, "nearest"), 8, k).segment(k, k)
        sizes = layer.regions(k, k, opencv=False).sizes
        assert sizes.tolist() == np.bincount(parts.labels.ravel()).tolist()
        assert sizes.min() >= k


def test_small_boxes_go_in_the_papers_modes_only() -> None:
    for mode in ("single", "fast", "quality"):
        boxes = search(mode)
        assert (boxes[:, 2:] - boxes[:, :2]).min() >= 20
    boxes = search("opencv_fast")
    assert (boxes[:, 2:] - boxes[:, :2]).min() < 20


INITIAL = np.arange(12, dtype=np.int32).reshape(3, 4)


def test_the_whole_image_comes_first_and_initial_regions_last_and_once() -> None:
    merges = Hierarchy(np.zeros((2, 4), np.int32), np.array([2, 3], np.int32))
    found = by_merge(INITIAL, [merges, merges])
    assert [weights.tolist() for _, weights in found] == [[2, 1], [2, 1], [3, 3, 3]]
    assert (found[-1][0] == INITIAL).all()


def test_opencv_has_small_regions_first_and_initial_ones_in_each_hierarchy() -> None:
    merges = Hierarchy(np.zeros((2, 4), np.int32), np.array([2, 3], np.int32))
    found = by_level(INITIAL, [merges, merges])
    assert [weights.tolist() for _, weights in found] == [[1, 1, 1], [2, 3]] * 2


def test_order_is_priority_times_a_random_number() -> None:
    boxes = np.stack([np.zeros(50), np.zeros(50), np.arange(50) + 30, np.full(50, 30)], axis=1).astype(
        np.int32
    )
    priorities = np.arange(1, 51, dtype=np.int32)
    keys = np.random.default_rng(7).random(50) * priorities
    expected = boxes[sorted(range(50), key=keys.__getitem__)]
    assert (put_in_order(boxes, priorities, np.random.default_rng(7), 20) == expected).all()


def test_boxes_of_less_than_20_px_go_before_equal_ones() -> None:
    boxes = np.array([[0, 0, 20, 20], [0, 0, 19, 40], [5, 5, 25, 25], [0, 0, 20, 20]], np.int32)
    found = put_in_order(boxes, np.ones(4, np.int32), np.random.default_rng(0), 20)
    assert sorted(found.tolist()) == [[0, 0, 20, 20], [5, 5, 25, 25]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (30, 40)])
def test_images_of_one_colour_give_the_whole_image(mode: str, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), (10, 200, 90), np.uint8)
    assert search(mode, image).tolist() == [[0, 0, shape[1], shape[0]]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (3, 200)])
def test_thin_images_give_something(mode: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    boxes = search(mode, image)
    assert len(boxes) >= 1
    assert (boxes[:, 2:] <= [shape[1], shape[0]]).all()


@pytest.mark.parametrize("mode", MODES)
def test_grey_images(mode: str) -> None:
    grey = np.repeat(SCENE[..., 1:2], 3, axis=2)
    assert len(search(mode, grey)) > 5


def test_an_image_without_pixels_has_no_boxes() -> None:
    assert search("fast", np.zeros((0, 5, 3), np.uint8)).shape == (0, 4)


def test_rows_need_not_be_contiguous() -> None:
    assert (search("fast", SCENE[:, ::-1]) == search("fast", SCENE[:, ::-1].copy())).all()


def test_it_does_not_change_the_image() -> None:
    before = SCENE.copy()
    search("quality")
    assert (before == SCENE).all()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match="uint8 RGB"):
        search("fast", image)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UserError, match="opencv_fast"):
        SelectiveSearch(mode="slow", seed=0, max_boxes=None)


def test_it_travels_to_other_processes() -> None:
    method = SelectiveSearch(mode="single", seed=3, max_boxes=4)
    assert pickle.loads(pickle.dumps(method)) == method


@pytest.mark.parametrize("k", [50, 300])
def test_the_smallest_region_has_k_pixels_and_opencvs_always_100(k: int) -> None:
    assert MODES["fast"].min_size(k) == k
    assert MODES["opencv_fast"].min_size(k) == 100
