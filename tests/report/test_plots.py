from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from detkit.report.content import Bar, ConfusionMatrix, Curve, Table
from detkit.report.plots import MAX_POINTS, Point, line_plot, point_plot, thin_out, ticks
from detkit.report.tables import (
    NUM_PAIRS,
    _largest_pairs,
    bars,
    cell_text,
    confusion,
    legend,
    stacked_bars,
    table,
)


def points(svg: str) -> np.ndarray:
    (path,) = re.findall(r'<path d="([^"]*)" stroke="red"', svg)
    return np.array([[float(v) for v in p.split()] for p in re.split("[ML]", path)[1:]])


def test_curve_lands_on_the_axes() -> None:
    curve = Curve("c", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    svg = line_plot([curve], ["red"], x_label="recall", x_limits=(0, 1), y_limits=(0, 1), size=(440, 270))
    assert points(svg).tolist() == [[40.0, 232.0], [428.0, 10.0]]
    ET.fromstring(svg)


def test_a_single_point_is_a_dot() -> None:
    for count, dots in ((1, 1), (2, 0)):
        curve = Curve("c", np.arange(float(count)), np.arange(float(count)))
        svg = line_plot([curve], ["red"], x_label="x", x_limits=(0, 1), y_limits=(0, 1), size=(440, 270))
        assert len(re.findall(r'<circle cx="40" cy="232"', svg)) == dots


def test_the_marked_point_is_a_dot_where_it_lies_and_the_title_is_heard() -> None:
    curve = Curve("c", np.array([0.0, 1.0]), np.array([0.0, 1.0]), mark=(0.5, 1.0))
    svg = line_plot(
        [curve], ["red"], x_label="x", title="F1", x_limits=(0, 1), y_limits=(0, 1), size=(440, 270)
    )
    assert re.findall(r'<circle cx="(.*?)" cy="(.*?)"', svg) == [("234", "10")]
    assert 'aria-label="F1: c"' in svg


def test_a_constant_lies_in_the_middle_of_an_axis_of_its_own_size() -> None:
    svg = line_plot([Curve("lr", np.arange(2.0), np.array([1e-3, 1e-3]))], ["red"], x_label="step")
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["0.0006", "0.0008", "0.001", "0.0012", "0.0014"]


def test_long_numbers_get_more_room() -> None:
    small, large = (
        line_plot([Curve("c", np.arange(2.0), np.array([0.0, top]))], ["red"], x_label="x")
        for top in (1.0, 2e-4)
    )
    assert float(points(large)[0, 0]) > float(points(small)[0, 0]) + 15


def test_nan_lifts_the_pen() -> None:
    curve = Curve("c", np.arange(4.0), np.array([1.0, np.nan, 2.0, 3.0]))
    svg = line_plot([curve], ["red"], x_label="x")
    assert re.findall(r'd="([^"]*)" stroke="red"', svg)[0].count("M") == 2


@pytest.mark.parametrize("y", [[], [3.0], [2.0, 2.0], [np.nan, np.nan], [1e-9, 1e9], [-4.0, 5.0]])
def test_odd_values_give_finite_drawings(y: list[float]) -> None:
    curve = Curve("c", np.arange(float(len(y))), np.array(y))
    svg = line_plot([curve], ["red"], x_label="step")
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize("n", [1, MAX_POINTS, MAX_POINTS + 1, 5000])
def test_thinning_keeps_ends_and_level(n: int) -> None:
    x, y = np.arange(float(n)), np.full(n, 7.0)
    thin_x, thin_y = thin_out(x, y)
    assert len(thin_x) == len(thin_y) <= MAX_POINTS
    assert (thin_x[0], thin_x[-1]) == (0.0, n - 1.0)
    assert (np.diff(thin_x) >= 0).all()
    np.testing.assert_allclose(thin_y, 7.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.0034), (-3.0, 7.0), (17.0, 123456.0)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    values = ticks(low, high)
    assert 2 <= len(values) <= 7
    assert low - 1e-9 <= values[0]
    assert values[-1] <= high + 1e-9
    assert len({round(b - a, 9) for a, b in pairwise(values)}) == 1


def test_table_shows_missing_values_as_not_available() -> None:
    rows = (("<b>cat", 1234, 0.5, None), ("dog", 3, float("nan"), 0.25))
    html = table(Table(("class", "objects", "AP", "recall"), rows, bars=("AP",), colours=True))
    assert "&lt;b&gt;cat" in html
    assert "1,234" in html
    assert html.count("n/a") == 2
    assert "width:50.0%" in html
    ET.fromstring(html)


def test_cells() -> None:
    assert cell_text(0.0) == "0.000"
    assert cell_text("as it is") == "as it is"


def test_bars_are_relative_to_the_longest() -> None:
    html = bars([Bar("a", 2.0, "two"), Bar("b", 1.0, "one"), Bar("c", -1.0, "less")])
    assert [float(w) for w in re.findall(r"width:([\d.]+)%", html)] == [100.0, 50.0, 0.0]
    assert bars([]) == '<ul class="bars"></ul>'
    assert "width:0.0%" in bars([Bar("zero", 0.0, "0")])


def test_confusion_shades_by_the_share_of_the_row() -> None:
    html = confusion(ConfusionMatrix(("cat", "none"), np.array([[3, 1], [0, 0]])))
    ET.fromstring(html)
    assert "cat found as none: 1 (25%)" in html
    assert "--share:50%" in html  # the square root of 25 %, so that rare confusions can be seen


def test_names_of_rows_lead_to_parts_of_the_page() -> None:
    html = table(Table(("class", "AP"), (("cat", 0.5), ("dog", 0.5)), links=("mistakes-0", "")))
    assert '<a href="#mistakes-0">cat</a>' in html
    assert "<a" not in html.split("cat")[1].removeprefix("</a>")
    html = confusion(ConfusionMatrix(("cat", "none"), np.eye(2, dtype=np.int64), links=("mistakes-0", "")))
    assert '<a href="#mistakes-0">cat</a>' in html


def test_cells_know_their_column_for_narrow_screens() -> None:
    rows = (("cat", 3, 0.5, None, "far"),)
    html = table(Table(("class", "objects", "AP", "recall", "where"), rows, bars=("AP",)))
    assert re.findall('data-column="(.*?)"', html) == ["objects", "AP", "recall", "where"]


@pytest.mark.parametrize(("classes", "parts"), [(6, (1, 0)), (7, (1, 1)), (21, (1, 1)), (22, (0, 0))])
def test_a_matrix_too_wide_for_a_phone_is_a_list_there(classes: int, parts: tuple[int, int]) -> None:
    html = confusion(ConfusionMatrix(tuple(map(str, range(classes))), np.eye(classes, dtype=np.int64)))
    assert (html.count('class="matrix"'), html.count('class="on-narrow"')) == parts


def test_many_classes_give_a_list_of_confusions() -> None:
    counts = np.eye(80, dtype=np.int64) * 10
    counts[3, 5] = 7
    html = confusion(ConfusionMatrix(tuple(f"c{i}" for i in range(80)), counts))
    assert html.count("<tr>") == 2
    assert "c3" in html
    assert "41%" in html


def test_legend_escapes_names() -> None:
    assert "<x>" not in legend([Curve("<x>", np.zeros(0), np.zeros(0), 0.5)], ["red"])


def test_the_largest_confusions_are_listed_first_and_those_that_happened_alone() -> None:
    counts = np.zeros((60, 60), dtype=np.int64)
    counts[3, 5], counts[7, 2], counts[7, 8], counts[4, 4] = 7, 9, 7, 50
    names = tuple(f"c{i}" for i in range(60))
    assert _largest_pairs(ConfusionMatrix(names, counts)).rows == (
        ("c7", "c2", 9, "56%"),
        ("c3", "c5", 7, "100%"),
        ("c7", "c8", 7, "44%"),
    )
    counts = np.ones((60, 60), dtype=np.int64)
    assert len(_largest_pairs(ConfusionMatrix(names, counts)).rows) == NUM_PAIRS


def test_what_is_not_known_counts_in_no_mean() -> None:
    n = 10 * MAX_POINTS
    y = np.full(n, 7.0)
    y[1:-1:3] = np.nan
    np.testing.assert_allclose(thin_out(np.arange(float(n)), y)[1], 7.0)


def test_points_lie_on_an_axis_of_factors_and_their_names_do_not_overlap() -> None:
    given = [Point("one", 0.01, 0.5), Point("two", 0.0101, 0.5), Point("the last of all", 9.9, 0.25)]
    svg = point_plot(given, ["red", "green", "blue"], x_label="s", title="t", size=(440, 268))
    ET.fromstring(svg)
    assert re.findall(r'<text x="[^"]*" y="246" text-anchor="middle">([^<]*)<', svg) == [
        "0.01",
        "0.1",
        "1",
        "10",
    ]
    circles = re.findall(r'<circle cx="([^"]*)" cy="([^"]*)" r="5" fill="(\w+)"', svg)
    (x1, y1, _), (x2, y2, _), (x3, y3, _) = circles
    assert [colour for _, _, colour in circles] == ["red", "green", "blue"]
    assert (float(x1), y1) == (40.0, y2)  # 0.01 is where the axis begins
    assert float(x1) < float(x2) < float(x1) + 2
    assert float(x3) == pytest.approx(40 + 388 * (2 + np.log10(9.9)) / 3, abs=0.06)
    assert 230 - float(y3) == pytest.approx((230 - float(y1)) / 2, abs=0.1)
    labels = re.findall(r'<text x="([^"]*)" y="([^"]*)" text-anchor="(\w+)" class="label">([^<]*)<', svg)
    lines = {name: (float(x), float(y), anchor) for x, y, anchor, name in labels}
    assert abs(lines["one"][1] - lines["two"][1]) >= 14
    assert lines["the last of all"][0] < float(x3)
    assert lines["the last of all"][2] == "end"


def test_names_hide_no_point_and_no_other_name() -> None:
    xs = [0.0136, 0.0275, 0.0553, 0.0446, 0.0178, 0.0325]
    ys = [0.875, 0.858, 0.804, 0.776, 0.591, 0.596]
    names = ["Faster R-CNN", "Fast R-CNN", "R-CNN", "OverFeat", "HOG + SVM", "SPP-net"]
    given = [Point(name, x, y) for name, x, y in zip(names, xs, ys, strict=True)]
    svg = point_plot(given, ["red"] * 6, x_label="s", title="t", size=(440, 268))
    circles = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([^"]*)" cy="([^"]*)"', svg)]
    labels = re.findall(r'<text x="([^"]*)" y="([^"]*)" text-anchor="(\w+)" class="label">([^<]*)<', svg)
    rectangles = []
    for x, y, anchor, name in labels:
        left = float(x) - (7.5 * len(name) if anchor == "end" else 0)
        rectangles.append((left, float(y) - 10, left + 7.5 * len(name), float(y) + 2))
    for i, (left, top, right, bottom) in enumerate(rectangles):
        assert not any(left - 5 < x < right + 5 and top - 3 < y < bottom + 3 for x, y in circles)
        for other in rectangles[:i]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_where_there_is_no_number_stands_among_the_numbers() -> None:
    html = table(Table(("a", "b", "c"), (("x", "–", "word"), ("y", "3 ms", "–"))))
    assert '<th scope="col">b</th>' in html
    assert '<td class="none" data-column="b">–</td>' in html
    assert '<th scope="col" class="text">c</th>' in html


def test_stacked_bars_are_divided_as_the_counts_are() -> None:
    html = stacked_bars(
        [("a & b", [3, 0, 1]), ("none", [0, 0, 0])], ["x", "y", "z"], ["red", "green", "blue"]
    )
    parts = re.findall(r'<span title="(.*?)" style="width:(.*?)%;background:(\w+)"', html)
    assert parts == [("x: 3", "75.00", "red"), ("z: 1", "25.00", "blue")]
    assert html.count("a &amp; b") == 3  # beside the bar, for those who hear the page, and in the table
