from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from detkit.data.transforms.geometric import (
    Affine,
    Flip,
    RandomCrop,
    Transform,
    ZoomOut,
    about_centre,
    as_image,
    as_pixels,
    move,
    move_boxes,
    scaling,
)
from detkit.data.transforms.lens import LensDistortion
from detkit.data.transforms.resize import Resize, resized
from detkit.structures import Target
from tests.reference.drawn_box import Box, drawn, found

GEOMETRIC: list[Transform] = [
    Flip(1.0, "horizontal"),
    Flip(1.0, "vertical"),
    Resize((30, 90, 150), 200),
    RandomCrop(1.0, 0.5),
    ZoomOut(1.0, 2.0),
    Affine(1.0, 20.0, 10.0, 1.3),
    LensDistortion(1.0, 0.2, 0.05),
]
BENT = Affine | LensDistortion
ids = [f"{type(each).__name__}-{number}" for number, each in enumerate(GEOMETRIC)]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], Box]:
    height, width = draw(st.integers(60, 130)), draw(st.integers(60, 130))
    w, h = draw(st.integers(6, 22)), draw(st.integers(6, 22))
    x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
    return (height, width), (x, y, x + w, y + h)


def smooth_photo(height: int, width: int) -> Tensor:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return as_image(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("transform", GEOMETRIC, ids=ids)
@settings(deadline=None, max_examples=60)
@given(scene=scenes(), seed=st.integers(0, 10_000))
def test_box_is_where_its_pixels_went(
    transform: Transform, scene: tuple[tuple[int, int], Box], seed: int
) -> None:
    image, target = transform(*drawn(*scene), np.random.default_rng(seed))
    seen = found(image)
    assert image.dtype == torch.uint8
    assert target.proposals is not None
    if len(target):
        assert seen is not None
        box, (height, width) = target.boxes[0].numpy(), image.shape[1:]
        if isinstance(transform, BENT) and (box[:2].min() <= 0 or box[2] >= width or box[3] >= height):
            assert (box[:2] <= np.array(seen[:2]) + 1).all()  # a corner is outside, the rest is smaller
            assert (box[2:] >= np.array(seen[2:]) - 1).all()
        else:
            whole_pixels = not isinstance(transform, Resize | BENT)
            np.testing.assert_allclose(box, seen, atol=0.0 if whole_pixels else 1.0)
        assert torch.equal(target.boxes, target.proposals)
        assert (target.labels.item(), target.difficult.item(), target.image) == (3, True, 7)
    elif seen is not None:  # only what is cut at an edge may be given up
        height, width = image.shape[1:]
        assert isinstance(transform, BENT)
        assert min(seen[0], seen[1], width - seen[2], height - seen[3]) <= 1


@pytest.mark.parametrize("transform", GEOMETRIC, ids=ids)
def test_same_generator_same_result_and_inputs_untouched(transform: Transform) -> None:
    image, target = smooth_photo(80, 100), drawn((80, 100), (20, 30, 60, 50))[1]
    before = image.clone(), target.boxes.clone()
    first = transform(image, target, np.random.default_rng(3))
    second = transform(image, target, np.random.default_rng(3))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].boxes, second[1].boxes)
    assert torch.equal(image, before[0])
    assert torch.equal(target.boxes, before[1])


@pytest.mark.parametrize("transform", GEOMETRIC, ids=ids)
def test_image_without_objects(transform: Transform) -> None:
    empty = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    image, target = transform(smooth_photo(64, 64), empty, np.random.default_rng(0))
    assert image.shape[0] == 3
    assert target.boxes.shape == (0, 4)
    assert target.proposals is None


@pytest.mark.parametrize(
    "transform",
    [
        Flip(0.0, "vertical"),
        RandomCrop(0.0, 0.1),
        ZoomOut(0.0, 2.0),
        Affine(0.0, 45.0, 30.0, 2.0),
        LensDistortion(0.0, 0.2, 0.0),
    ],
)
def test_probability_zero_never(transform: Transform) -> None:
    image, target = drawn((60, 70), (10, 10, 30, 30))
    for seed in range(20):
        assert transform(image, target, np.random.default_rng(seed))[0] is image


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_flipping_twice_changes_nothing(direction: str) -> None:
    flip = Flip(1.0, direction)  # type: ignore[arg-type]
    image, target = smooth_photo(80, 100), drawn((80, 100), (20, 30, 60, 50))[1]
    once = flip(image, target, np.random.default_rng(0))
    twice = flip(*once, np.random.default_rng(0))
    assert not torch.equal(once[0], image)
    assert torch.equal(twice[0], image)
    assert torch.equal(twice[1].boxes, target.boxes)


def test_flip_happens_as_often_as_told() -> None:
    image, target = drawn((8, 8), (1, 1, 3, 3))
    generator, flip = np.random.default_rng(0), Flip(0.3, "horizontal")
    flipped = sum(flip(image, target, generator)[0] is not image for _ in range(2000))
    assert 520 < flipped < 680


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 800), st.integers(0, 800))
def test_size_rule(height: int, width: int, short_px: int, more: int) -> None:
    long_px = short_px + more
    new = resized(height, width, short_px, long_px)
    scale = min(short_px / min(height, width), long_px / max(height, width))
    assert min(new) == short_px or max(new) == long_px
    assert max(new) <= long_px
    for side, old in zip(new, (height, width), strict=True):
        assert abs(side - max(1.0, old * scale)) <= 0.5 + 1e-9
    assert resized(width, height, short_px, long_px) == new[::-1]


def test_resize_scales_each_axis_by_its_own_quotient() -> None:
    image, target = drawn((37, 101), (0, 0, 101, 37))
    image, target = Resize((60,), 1000)(image, target, np.random.default_rng(0))
    assert image.shape[1:] == (60, 164)
    assert target.boxes.tolist() == [[0, 0, 164, 60]]


@pytest.mark.parametrize("size", [(13, 17), (200, 260), (90, 40)])
def test_resize_gives_torchvisions_pixels(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image, target = as_image(pixels), Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    resized_image, _ = Resize((60,), 100)(image, target, np.random.default_rng(0))
    expected = functional.resize(image, list(resized_image.shape[1:]), antialias=True)
    assert torch.equal(resized_image, expected)
    assert resized_image.permute(1, 2, 0).is_contiguous()


def test_resize_draws_every_length() -> None:
    image, target = drawn((40, 50), (0, 0, 10, 10))
    generator, resize = np.random.default_rng(0), Resize((20, 30, 40), 100)
    assert {resize(image, target, generator)[0].shape[1] for _ in range(40)} == {20, 30, 40}


def test_shrinking_averages_and_skips_no_pixel() -> None:
    stripes = torch.zeros(80, 80, 3, dtype=torch.uint8)
    stripes[:, ::8] = 255
    small, _ = Resize((10,), 10)(
        stripes.permute(2, 0, 1), drawn((80, 80), (0, 0, 8, 8))[1], np.random.default_rng(0)
    )
    assert (small[:, :, 1:-1].int() - 255 // 8).abs().max() <= 2


@settings(deadline=None)
@given(scene=scenes(), seed=st.integers(0, 10_000))
def test_crop_keeps_an_object_and_its_size_rule(scene: tuple[tuple[int, int], Box], seed: int) -> None:
    window, target = RandomCrop(1.0, 0.3)(*drawn(*scene), np.random.default_rng(seed))
    assert len(target) == 1
    for new, old in zip(window.shape[1:], scene[0], strict=True):
        assert round(0.3 * old) <= new <= old


def test_canvas_has_the_mean_colour() -> None:
    image = smooth_photo(64, 80)
    canvas, target = ZoomOut(1.0, 3.0)(image, drawn((64, 80), (0, 0, 80, 64))[1], np.random.default_rng(1))
    assert 64 < canvas.shape[1] <= 192
    x1, y1, x2, y2 = map(int, target.boxes[0].tolist())
    assert torch.equal(canvas[:, y1:y2, x1:x2], image)
    outside = torch.ones(canvas.shape[1:], dtype=torch.bool)
    outside[y1:y2, x1:x2] = False
    expected = image.double().mean(dim=(1, 2)).round().to(torch.uint8)
    assert torch.equal(canvas[:, outside].unique(dim=1).flatten(), expected)


def test_turning_gives_the_picture_that_torchvision_gives() -> None:
    image, target = smooth_photo(96, 128), drawn((96, 128), (50, 40, 80, 60))[1]

    class Largest(np.random.Generator):
        def random(self) -> float:  # type: ignore[override]
            return 0.0

        def uniform(self, low: float, high: float, size: int) -> np.ndarray:  # type: ignore
            return np.array([1.0, 0.0, 0.0])

    turned, moved = Affine(1.0, 10.0, 0.0, 1.0)(image, target, Largest(np.random.PCG64(0)))
    peer = functional.affine(
        image, angle=10.0, translate=[0, 0], scale=1.0, shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )  # fmt: skip
    inner = (slice(None), slice(30, 66), slice(30, 98))
    assert (turned[inner].int() - peer[inner].int()).abs().float().mean() < 0.6
    assert len(moved) == 1


def test_matrix_about_the_centre() -> None:
    matrix = about_centre(0.3, 0.2, 1.4, (60, 100))
    np.testing.assert_allclose(matrix @ [50, 30, 1], [50, 30])
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(1.0)
    # Only the turn, which comes last, changes the direction of level lines; only the stretch their length.
    assert math.atan2(matrix[1, 0], matrix[0, 0]) == pytest.approx(0.3)
    assert math.hypot(matrix[1, 0], matrix[0, 0]) == pytest.approx(math.sqrt(1.4))
    np.testing.assert_allclose(about_centre(0, 0, 1, (60, 100)), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    wide = about_centre(0, 0, 1.44, (60, 100))
    assert wide[0, 0] / wide[1, 1] == pytest.approx(1.44)
    leaning = about_centre(0, math.radians(45), 1, (60, 100))
    np.testing.assert_allclose(leaning[:, :2], [[1, 1], [0, 1]], atol=1e-12)


def test_turning_stays_within_what_is_told_and_uses_all_of_it() -> None:
    image, target = drawn((100, 100), (40, 40, 60, 60))
    aspects, heights = [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        x1, y1, x2, y2 = Affine(1.0, 0.0, 0.0, 1.5)(image, target, generator)[1].boxes[0].tolist()
        aspects.append((x2 - x1) / (y2 - y1))
        _, turned = Affine(1.0, 30.0, 0.0, 1.0)(image, target, generator)
        heights.append((turned.boxes[0, 3] - turned.boxes[0, 1]).item() / 20)
    assert 1 / 1.501 < min(aspects) < 1 / 1.4
    assert 1.4 < max(aspects) < 1.501
    assert max(heights) <= math.cos(math.radians(30)) + math.sin(math.radians(30)) + 1e-4
    assert max(heights) > 1.3
    assert min(heights) < 1.05


def test_arrays_and_images_share_memory() -> None:
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    image = as_image(pixels)
    assert image.shape == (3, 4, 5)
    assert as_pixels(image).base is not None
    as_pixels(image)[1, 2] = 9
    assert pixels[1, 2].tolist() == [9, 9, 9]


coordinate = st.floats(-50, 150, width=32)
matrices = st.lists(st.floats(-2, 2), min_size=6, max_size=6).map(
    lambda values: torch.tensor(values, dtype=torch.float64).reshape(2, 3)
)


def target_of(boxes: list[list[float]], crowd: list[bool] | None = None) -> Target:
    count = len(boxes)
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.arange(count),
        torch.arange(count) % 2 == 1,
        torch.tensor(crowd or [False] * count, dtype=torch.bool),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        5,
    )


@settings(deadline=None)
@given(st.lists(coordinate, min_size=4, max_size=4), matrices)
def test_box_is_around_its_four_mapped_corners(values: list[float], matrix: torch.Tensor) -> None:
    x1, x2 = sorted((values[0], values[2]))
    y1, y2 = sorted((values[1], values[3]))
    corners = [(x, y) for x in (x1, x2) for y in (y1, y2)]
    mapped = np.array([matrix.numpy() @ np.array([x, y, 1.0]) for x, y in corners])
    expected = np.concatenate([mapped.min(axis=0), mapped.max(axis=0)])
    moved = move_boxes(np.array([[x1, y1, x2, y2]], np.float32), matrix.numpy())
    np.testing.assert_allclose(moved[0], expected, rtol=1e-5, atol=1e-4)


def test_objects_go_by_their_centre_and_take_their_rows_along() -> None:
    target = target_of([[-6, 0, 4, 8], [-4, 0, 6, 8], [2, 2, 4, 4], [8, 0, 12, 8], [7, 5, 12, 9]])
    moved = move(target, scaling(1, 1), (8, 10))
    # The centres are at x = -1, 1, 3, 10 (the first column outside) and 9.5; the others are clipped.
    assert moved.boxes.tolist() == [[0, 0, 6, 8], [2, 2, 4, 4], [7, 5, 10, 8]]
    assert moved.labels.tolist() == [1, 2, 4]
    assert moved.difficult.tolist() == [True, False, False]
    assert moved.crowd.tolist() == [False] * 3
    assert moved.image == 5


def test_crowds_and_proposals_stay_while_visible() -> None:
    target = target_of([[-6, 0, 4, 8], [-6, 0, -1, 8], [10, 0, 20, 8]], crowd=[True, True, True])
    moved = move(target, scaling(1, 1), (8, 10))
    assert moved.boxes.tolist() == [[0, 0, 4, 8]]
    assert moved.proposals is not None
    assert moved.proposals.tolist() == [[0, 0, 4, 8]]


def test_empty_stays_empty() -> None:
    moved = move(target_of([]), scaling(2, 3), (10, 10))
    assert moved.boxes.shape == (0, 4)
    assert moved.proposals is not None
    assert moved.proposals.shape == (0, 4)
    assert move(Target.of(torch.zeros(0, 4), torch.zeros(0)), scaling(2, 3), (10, 10)).proposals is None


def by_matrix(boxes: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(move_boxes(boxes.numpy(), matrix))


def test_same_boxes_as_torchvision() -> None:
    boxes = torch.tensor([[10.0, 20.0, 40.0, 50.0], [60.0, 30.0, 90.0, 70.0]])
    wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(80, 100))
    torch.testing.assert_close(
        by_matrix(boxes, scaling(-1, 1, right=100)),
        functional.horizontal_flip(wrapped).as_subclass(torch.Tensor),
    )
    torch.testing.assert_close(
        by_matrix(boxes, scaling(1.5, 2.0)),
        functional.resize(wrapped, [160, 150]).as_subclass(torch.Tensor),
    )
    turned = functional.affine(wrapped, angle=4.0, translate=[0, 0], scale=1.0, shear=[0.0, 0.0])
    ours = by_matrix(boxes, about_centre(math.radians(4.0), 0.0, 1.0, (80, 100)))
    torch.testing.assert_close(ours, turned.as_subclass(torch.Tensor), atol=1e-3, rtol=0)


def test_a_centre_on_the_edge_is_inside_at_the_left_and_outside_at_the_right() -> None:
    target = target_of([[-4, 0, 4, 8], [0, -3, 4, 3], [6, 0, 14, 8], [0, 4, 4, 12], [6, 0, 13.9, 8]])
    moved = move(target, scaling(1, 1), (8, 10))
    assert moved.labels.tolist() == [0, 1, 4]


def test_a_window_begins_anywhere_that_keeps_the_centre() -> None:
    def begins(centre: float | None) -> tuple[int, int]:
        found = [RandomCrop(1.0, 0.5)._span(10, centre, np.random.default_rng(seed)) for seed in range(400)]
        assert {length for _, length in found} == set(range(5, 11))
        fives = [start for start, length in found if length == 5]
        return min(fives), max(fives)

    assert begins(None) == (0, 5)
    assert begins(0.0) == begins(-3.0) == (0, 0)
    assert begins(6.99) == (2, 5)
    assert begins(2.0) == (0, 2)
    assert begins(9.5) == begins(10.0) == begins(12.0) == (5, 5)


def test_a_canvas_is_up_to_as_large_as_told_and_the_image_anywhere_on_it() -> None:
    image, target = torch.zeros(3, 10, 20, dtype=torch.uint8), target_of([[0, 0, 20, 10]])
    sizes, places = set(), set()
    for seed in range(300):
        canvas, moved = ZoomOut(1.0, 2.0)(image, target, np.random.default_rng(seed))
        height, width = canvas.shape[1:]
        left, top, right, bottom = moved.boxes[0].tolist()
        assert (right - left, bottom - top) == (20, 10)
        sizes.add((height, width))
        places |= {(left == 0, right == width), (top == 0, bottom == height)}
    assert (min(sizes)[0], max(sizes)[0]) == (10, 20)
    assert all(abs(width - 2 * height) <= 1 for height, width in sizes)
    assert {(True, False), (False, True), (False, False)} <= places


def pointed(points: list[list[float]], size: tuple[int, int] = (90, 110)) -> tuple[Tensor, Target]:
    """Return a dark image with a bright square of 6 pixels around each point, and an object with these."""
    image = torch.zeros(3, *size, dtype=torch.uint8)
    for channel, (x, y, _) in enumerate(points):
        image[channel, int(y) - 3 : int(y) + 3, int(x) - 3 : int(x) + 3] = 255
    own = Target.of(torch.tensor([[0.0, 0, size[1], size[0]]]), torch.tensor([0]))
    return image, replace(own, keypoints=torch.tensor([points]), mirrored=tuple(range(len(points))))


@pytest.mark.parametrize("transform", GEOMETRIC, ids=ids)
@pytest.mark.parametrize("seed", range(4))
def test_key_points_are_where_their_pixels_went(transform: Transform, seed: int) -> None:
    image, target = transform(
        *pointed([[40.0, 50, 2], [70, 30, 1], [50, 20, 2]]), np.random.default_rng(seed)
    )
    assert target.keypoints is not None
    height, width = image.shape[1:]
    checked = 0
    for pixels, (x, y, seen) in zip(image.float(), target.keypoints[0].tolist(), strict=True):
        bright = (pixels > 128) & (pixels >= 0.5 * pixels.max())
        ys, xs = torch.nonzero(bright).float().T + 0.5
        if not seen:
            assert (x, y) == (0, 0)
            assert not len(xs) or min(xs.min(), ys.min(), width - xs.max(), height - ys.max()) < 1
        elif min(x, y, width - x, height - y) > 12:  # the whole square is in the image
            checked += 1
            assert (xs.mean().item(), ys.mean().item()) == pytest.approx((x, y), abs=1.0)
    assert checked or not target.keypoints[0, :, 2].all()


def test_in_a_mirror_left_points_become_right_ones() -> None:
    image, target = pointed([[10.0, 20, 2], [30, 40, 1], [50, 60, 0]])
    target = replace(target, mirrored=(0, 2, 1))
    for direction, wanted in (
        ("horizontal", [[100, 20, 2], [0, 0, 0], [80, 40, 1]]),
        ("vertical", [[10, 70, 2], [0, 0, 0], [30, 50, 1]]),
    ):
        flip = Flip(1.0, direction)  # type: ignore[arg-type]
        once = flip(image, target, np.random.default_rng(0))
        assert once[1].keypoints is not None
        assert once[1].keypoints.tolist() == [wanted]
        again = flip(*once, np.random.default_rng(0))[1]
        assert again.keypoints is not None
        assert again.keypoints.tolist() == [[[10, 20, 2], [30, 40, 1], [0, 0, 0]]]
    turned = move(target, about_centre(0.5, 0.0, 1.0, (90, 110)), (90, 110))
    assert turned.keypoints is not None
    assert turned.keypoints[0, :, 2].tolist() == [2, 1, 0]


def test_points_and_objects_that_leave() -> None:
    _, target = pointed([[10.0, 20, 2], [30, 40, 2], [29.9, 60, 2]])
    two = Target.of(torch.tensor([[0.0, 0, 110, 90], [0, 0, 8, 8]]), torch.tensor([0, 1]))
    assert target.keypoints is not None
    two = replace(two, keypoints=target.keypoints.repeat(2, 1, 1), mirrored=(0, 1, 2))
    left = move(two, scaling(1.0, 1.0, -30.0, 0.0), (90, 80))
    assert left.keypoints is not None
    assert left.keypoints.tolist() == [[[0, 0, 0], [0, 40, 2], [0, 0, 0]]]
