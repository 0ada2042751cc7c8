from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from detkit.data.images import decode_image
from detkit.errors import UserError
from detkit.report import draw
from detkit.report.colours import as_hex, class_colour, ink_on
from detkit.report.draw import (
    LabelDrawing,
    Rectangle,
    draw_detections,
    draw_targets,
    encoded,
    fit,
    tile_images,
    write_image,
)

NONE = np.zeros((0, 4), np.float32)
EMPTY = np.zeros(0, np.int64)


@pytest.fixture
def grey() -> np.ndarray:
    return np.full((120, 160, 3), 90, np.uint8)


def test_detection_is_outlined_in_its_class_colour(grey: np.ndarray) -> None:
    drawn = draw_detections(
        grey, np.array([[20.0, 40.0, 100.0, 110.0]]), np.array([1]), np.array([0.5]), ("cat", "dog")
    )
    assert tuple(drawn[80, 20]) == class_colour(1)
    assert tuple(drawn[109, 60]) == class_colour(1)  # x2, y2 are where the box ends: pixel 109 is its last
    assert tuple(drawn[80, 99]) == class_colour(1)
    assert tuple(drawn[80, 100]) != class_colour(1)
    assert (drawn[112:] == 90).all()
    assert (grey == 90).all(), "the image given stays as it is"


def test_parts_are_thin_of_the_class_colour_and_below_the_box() -> None:
    image = np.full((560, 560, 3), 90, np.uint8)  # lines of 2 pixels
    boxes = np.array([[100.0, 100.0, 300.0, 300.0], [100.0, 350.0, 300.0, 500.0]])
    parts = np.array([[[50.0, 120.0, 150.0, 280.0]] * 2, [[-40.0, 400.0, 60.0, 450.0]] * 2])
    drawn = draw_detections(image, boxes, np.array([1, 0]), np.array([0.9, 0.5]), ("cat", "dog"), parts=parts)
    assert tuple(drawn[200, 50]) == tuple(drawn[200, 149]) == class_colour(1)
    assert tuple(drawn[425, 59]) == class_colour(0)
    assert tuple(drawn[200, 51]) != class_colour(1), "half as thick as the box"
    assert tuple(drawn[200, 100]) == tuple(drawn[200, 101]) == class_colour(1)
    crossed = draw_detections(image, boxes, np.array([1, 0]), np.array([0.9, 0.5]), ("cat", "dog"))
    across = (slice(100, 300), 100)  # the box's left side, which parts cross
    np.testing.assert_array_equal(drawn[across], crossed[across])


def test_lines_join_the_key_points_of_a_skeleton(grey: np.ndarray) -> None:
    box, points = np.array([[20.0, 20.0, 120.0, 110.0]]), np.array([[[40.0, 60], [100, 60], [70, 100]]])
    drawn = draw_detections(
        grey, box, np.array([1]), np.array([0.5]), ("cat", "dog"), keypoints=points, skeleton=[(0, 1)]
    )
    assert tuple(drawn[60, 40]) == tuple(drawn[100, 70]) == class_colour(1)
    assert np.abs(drawn[60, 70].astype(int) - class_colour(1)).max() < 40, "a thin line has smooth edges"
    assert tuple(drawn[80, 85]) == (90, 90, 90), "no line joins the second with the third"


def test_chip_names_the_class_above_the_box(grey: np.ndarray) -> None:
    drawn = draw_detections(
        grey, np.array([[20.0, 40.0, 100.0, 110.0]]), np.array([0]), np.array([0.5]), ("cat",)
    )
    chip = drawn[27:39, 20:60].reshape(-1, 3)
    assert (chip == class_colour(0)).all(axis=1).mean() > 0.3
    assert (chip == ink_on(class_colour(0))).all(axis=1).any()


def test_the_best_detection_gets_the_best_place_for_its_chip(grey: np.ndarray) -> None:
    boxes = np.array([[20.0, 60.0, 100.0, 110.0]] * 2)
    drawn = draw_detections(grey, boxes, np.array([0, 1]), np.array([0.3, 0.9]), ("cat", "dog"))
    assert (drawn[50:58, 22:40] == class_colour(1)).all(axis=2).any()
    assert not (drawn[50:58, 22:40] == class_colour(0)).all(axis=2).any()


@pytest.mark.parametrize(
    "box", [[-50.0, -50, 500, 500], [5, 5, 5, 5], [300, 300, 400, 400], [0, 0, 2e9, 2e9]]
)
def test_boxes_outside_or_without_area_are_drawn_without_error(grey: np.ndarray, box: list[float]) -> None:
    drawn = draw_detections(grey, np.array([box]), np.array([0]), np.array([1.0]), ("größe 猫",))
    assert drawn.shape == grey.shape


def test_nothing_to_draw_leaves_the_image(grey: np.ndarray) -> None:
    assert (draw_detections(grey, NONE, EMPTY, np.zeros(0), ()) == grey).all()
    assert (draw_targets(grey, NONE, EMPTY, (), anchors=NONE, regions=NONE) == grey).all()
    assert (draw_detections(grey, NONE, EMPTY, np.zeros(0), (), labelled=NONE) == grey).all()


def test_targets_show_anchors_and_regions_thin(grey: np.ndarray) -> None:
    drawn = draw_targets(
        grey,
        np.array([[20.0, 30.0, 60.0, 70.0]]),
        np.array([0]),
        ("cat",),
        anchors=np.array([[80.0, 10.0, 120.0, 50.0]]),
        regions=np.array([[90.0, 60.0, 150.0, 100.0]]),
    )
    assert tuple(drawn[30, 80]) != (90, 90, 90)
    assert tuple(drawn[80, 90]) != tuple(drawn[30, 80])


def test_what_is_labelled_is_dashed(grey: np.ndarray) -> None:
    labelled = np.array([[10.0, 10, 150, 110]])
    drawn = draw_detections(grey, NONE, EMPTY, np.zeros(0), (), labelled=labelled)
    edge = (drawn[10, 10:150] == 255).all(axis=1)
    assert 0.3 < edge.mean() < 0.8


def test_chips_avoid_each_other_and_stay_inside(grey: np.ndarray) -> None:
    drawing = LabelDrawing(grey, 10)
    for _ in range(20):
        drawing.label_box(("platelets 0.93",), (60, 50, 120, 100), (0, 0, 0))
    assert len(drawing.taken) >= 3
    assert not any(a.overlaps(b) for a, b in combinations(drawing.taken, 2))
    drawing.label_box(("platelets 0.93",), (150, 0, 160, 5), (0, 0, 0))
    last = drawing.taken[-1]
    assert last.left + last.width <= 160
    assert last.top >= 0


def test_chips_leave_other_boxes_to_be_seen(grey: np.ndarray) -> None:
    boxes = np.array([[60.0, 50, 130, 100], [60, 34, 80, 49]])
    drawing = LabelDrawing(grey, 10, boxes)
    drawing.label_box(("cell 0.93",), (60, 50, 129, 99), (0, 0, 0))
    (chip,) = drawing.taken
    assert not chip.overlaps(Rectangle(60, 34, 20, 15)), "the place above is the other box's"
    assert chip.top < 50


def test_where_boxes_crowd_a_label_shortens_to_the_score(grey: np.ndarray) -> None:
    boxes = np.array([[x, y, x + 40.0, y + 40.0] for x in (0, 40, 80, 120) for y in (0, 40, 80)])
    for boxes_near, full in ((boxes, False), (boxes[5:6], True)):
        drawing = LabelDrawing(grey.copy(), 10, boxes_near)
        drawing.label_box(("red blood cell 0.93", "0.93"), (40, 80, 79, 119), (0, 0, 0))
        assert (drawing.taken[0].width == drawing.measure("red blood cell 0.93")[0]) == full
        assert (drawing.taken[0].width == drawing.measure("0.93")[0]) == (not full)


def test_a_box_as_large_as_its_picture_keeps_its_whole_label(grey: np.ndarray) -> None:
    low = grey[:40].copy()
    drawing = LabelDrawing(low, 10, np.array([[0.0, 0, 160, 40]]))
    drawing.label_box(("platelets 0.93", "0.93"), (0, 0, 159, 39), (0, 0, 0))
    assert [chip.width for chip in drawing.taken] == [drawing.measure("platelets 0.93")[0]]


def test_drawings_of_detections_and_of_targets_keep_crowded_boxes_to_be_seen(
    grey: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips: list[tuple[str, Rectangle]] = []
    monkeypatch.setattr(LabelDrawing, "chip", lambda self, text, spot, colour: chips.append((text, spot)))
    crowd = np.array([[x, y, x + 40.0, y + 40.0] for x in (0, 40, 80, 120) for y in (0, 40, 80)])
    labels = np.zeros(12, np.int64)
    draw_detections(grey, crowd, labels, np.full(12, 0.5), ("red blood cell",))
    assert {text for text, _ in chips} == {"0.50"}
    chips.clear()
    draw_targets(grey, np.array([[60.0, 50, 130, 100], [60, 34, 80, 49]]), labels[:2], ("cell",))
    (_, of_large), *_ = chips
    assert not of_large.overlaps(Rectangle(60, 34, 20, 15))


def test_a_line_too_long_keeps_its_end(grey: np.ndarray) -> None:
    drawing = LabelDrawing(grey, 10)
    drawing.line("a/very/long/path/to/an/image_000123.jpg", 0, 0, 80, (0, 0, 0))
    assert drawing.taken[0].width <= 80


def test_rectangles_that_touch_do_not_overlap() -> None:
    assert not Rectangle(0, 0, 10, 10).overlaps(Rectangle(10, 0, 10, 10))
    assert Rectangle(0, 0, 10, 10).overlaps(Rectangle(9, 9, 10, 10))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_tiles_hold_every_image(count: int) -> None:
    images = [np.full((30 + 10 * i, 50, 3), 200, np.uint8) for i in range(count)]
    sheet = tile_images(images, 2, cell_px=60, captions=[f"image {i}" for i in range(count)])
    assert sheet.dtype == np.uint8
    bright = int((sheet == 200).all(axis=2).sum())
    assert bright >= sum(fit(image, 60)[:, :, 0].size for image in images) * 0.95


def test_fit_keeps_the_aspect_ratio() -> None:
    assert fit(np.zeros((50, 100, 3), np.uint8), 20).shape == (10, 20, 3)
    assert fit(np.zeros((1, 1000, 3), np.uint8), 10).shape == (1, 10, 3)


def test_colours_differ_and_do_not_depend_on_the_number_of_classes() -> None:
    colours = [class_colour(i) for i in range(90)]
    assert len(set(colours)) == 90
    assert as_hex((59, 130, 246)) == "#3b82f6"
    assert ink_on((255, 255, 0)) == (17, 17, 17)
    assert ink_on((20, 20, 90)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["\ud800", "nul\0", "a\nb", "\x1b[31m", "\u202eabc", "x" * 1_000_000])
def test_any_name_is_drawn(grey: np.ndarray, name: str) -> None:
    box, label = np.array([[20.0, 40.0, 100.0, 110.0]]), np.array([0])
    assert (draw_detections(grey, box, label, np.array([0.5]), (name,)) != grey).any()
    assert (draw_targets(grey, box, label, (name,)) != grey).any()
    assert (tile_images([grey], 1, captions=[name]) == 255).any()


def test_a_picture_goes_to_any_file_and_is_the_same_each_time(grey: np.ndarray, tmp_path: Path) -> None:
    grey[40:60] = (200, 30, 60)
    for suffix in (".jpg", ".png"):
        files = [tmp_path / "new" / f"{name}{suffix}" for name in ("\udcff", "x" * 250, "a\nb")]
        for file in files:
            write_image(file, grey)
        assert len({file.read_bytes() for file in files}) == 1
        assert abs(decode_image(files[0]).astype(int) - grey).mean() < 1


def test_outlines_across_bands_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    boxes = np.array([[5.0, 3, 70, 85], [-4, 20, 30, 41], [60, 39, 118, 95]])
    args = (boxes, np.array([0, 1, 0]), np.array([0.9, 0.5, 0.3]), ["a", "b"])
    whole = draw_detections(image, *args)
    monkeypatch.setattr(draw, "_BAND_PX", 7)
    np.testing.assert_array_equal(draw_detections(image, *args), whole)
    assert (whole != image).any()


def test_a_picture_too_long_for_a_jpeg_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        encoded(".jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert str(caught.value) == "the image could not be encoded as .jpg"
    assert encoded(".png", np.zeros((1, 70_000, 3), np.uint8)).startswith(b"\x89PNG")
