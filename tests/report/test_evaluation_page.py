from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.keypoints import KeypointLayout
from detkit.evaluation.measure import Metric, measure
from detkit.report import evaluation_page
from detkit.report.evaluation_page import EvaluatedRun, write_page
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


def text_of(html: str) -> str:
    """What a reader sees of a page before a picture is enlarged, its parts divided by bars."""
    seen = re.sub(r'<details class="enlarge">.*?</details>', "", html.split("</style>")[1])
    return re.sub(r"(\s*<[^>]*>\s*)+", "|", seen)


def written(folder: Path, truth: AnnotationSet, found: DetectionSet, metric: Metric) -> str:
    measured = measure(truth, found, metric)

    def pixels(image: int) -> np.ndarray:
        return np.zeros((*truth.sizes[image, ::-1], 3), np.uint8)

    write_page(folder / "report.html", EvaluatedRun("run", "", truth, found, measured, pixels, ""))
    return (folder / "report.html").read_text("utf-8")


def count(text: str, pattern: str) -> int:
    """The sum of a number over all places of a page where it is said."""
    return sum(int(number.replace(",", "")) for number in re.findall(pattern, text))


@pytest.mark.parametrize("metric", ["voc07", "coco"])
@pytest.mark.parametrize("seed", range(3))
def test_figures_tables_and_captions_count_alike(tmp_path: Path, metric: Metric, seed: int) -> None:
    html = written(tmp_path, *random_sets(seed), metric)
    text = text_of(html)
    recall, precision = (
        re.search(rf"\|{name}\|[\d.]+\|([\d,]+) of ([\d,]+) ", text) for name in ("recall", "precision")
    )
    assert recall is not None
    assert precision is not None
    found, counted = (int(recall[i].replace(",", "")) for i in (1, 2))
    false, seen = (int(precision[i].replace(",", "")) for i in (1, 2))
    assert found + false == seen
    assert found
    assert false
    # the captions of all images
    assert count(text, r"jpg: (\d+) found") == found
    assert count(text, r"jpg: \d+ found, (\d+) missed") == counted - found
    assert count(text, r"jpg: \d+ found, \d+ missed, (\d+) false") == false
    # the confusion matrix, row by row, background last
    cells = [int(number) for number in re.findall(r"found as [^:]*: ([\d]+)", html)]
    matrix = np.array(cells).reshape(round(len(cells) ** 0.5), -1)
    assert np.trace(matrix) == found
    assert matrix[:, :-1].sum() == seen
    assert matrix[:-1].sum() == counted
    # why objects were missed, and the mistakes of each class
    assert count(text, r"\|found\|(\d+)\|") == found
    assert count(text, r"\|missed: [^|]*\|(\d+)\|") == counted - found
    assert count(text, r"\|: (\d+) false, ") == false
    kinds = "classification|localisation|both|duplicate|background"
    assert count(text, rf"\|(?:{kinds})\|-?[\d.]+ \((\d+)\)") == false


@pytest.mark.parametrize("metric", ["voc07", "voc10", "coco"])
def test_the_deciding_number_stands_first_beside_all_others(tmp_path: Path, metric: Metric) -> None:
    truth, found = random_sets(1)
    text, measured = text_of(written(tmp_path, truth, found, metric)), measure(truth, found, metric)
    tiles = re.findall(r"\|((?:COCO|VOC)\S* AP\d*)\|([\d.]+)\|(?=COCO|VOC)", text)
    names = {
        "voc07": "VOC07 AP",
        "voc10": "VOC10 AP",
        "AP": "COCO AP",
        "AP50": "COCO AP50",
        "AP75": "COCO AP75",
    }
    assert tiles == [(names[key], f"{total:.3f}") for key, (_, total) in measured.columns.items()]


def test_classes_have_their_colour_and_lead_to_their_mistakes(tmp_path: Path) -> None:
    truth, found = random_sets(1)
    html = written(tmp_path, truth, found, "coco")
    table = html.split('id="classes"')[1].split("</section>")[0]
    assert table.count('class="swatch"') == len(truth.classes)
    measured = np.isfinite(measure(truth, found, "coco").per_class).sum()
    assert table.count('class="track"') == measured, "a bar for the deciding number alone"
    links = re.findall(r'href="#(mistakes-\d+)"', table)
    assert links
    assert all(f'id="{link}"' in html for link in links)
    assert len(links) == html.count('id="mistakes-')
    assert re.findall(r'href="#(mistakes-\d+)"', html.split('id="confusion"')[1]) == links


def test_the_curve_of_each_class_is_its_own_whatever_the_order_of_category_ids(tmp_path: Path) -> None:
    places = {name: (100.0 * k, 0.0, 50.0, 50.0) for k, name in enumerate("abc")}
    truth, found = scene(list(places.items()), [("b", 0.9, places["b"])])
    for ids in ([1, 2, 3], [2, 3, 1], [3, 1, 2]):
        html = written(tmp_path, replace(truth, category_ids=np.array(ids)), found, "coco")
        svg = html.split('id="precision-and-recall"')[1].split("</svg>")[0]
        assert re.search(r"\|a\|\s*0.000\|b\|\s*1.000\|c\|\s*0.000\|", text_of(html))
        lines = re.findall(r'<path d="M[\d.]+ ([\d.]+)L[^"]*" stroke="[^"]*" class="line"><title>(.)<', svg)
        (top,) = (float(y) for y, name in lines if name == "b")
        assert sorted(name for _, name in lines) == ["a", "b", "c"]
        assert all(float(y) > top for y, name in lines if name != "b"), "found is above not found"


def test_objects_that_do_not_count_are_told_apart(tmp_path: Path) -> None:
    truth, found = scene([("a", (0, 0, 50, 50)), ("a", (100, 0, 50, 50))], [("a", 0.9, (0, 0, 50, 50))])
    assert "|1|2 objects|" in text_of(written(tmp_path, truth, found, "voc07"))
    truth = replace(truth, difficult=np.array([False, True]))
    text = text_of(written(tmp_path, truth, found, "voc07"))
    assert "|1|2 objects, 1 of them not counted|" in text
    assert "1 of 1 objects found" in text
    assert ": 1 found, 0 missed, 0 false|" in text


def test_a_page_of_nothing_found_and_one_of_nothing_labelled_are_whole(tmp_path: Path) -> None:
    objects = [("a", (0.0, 0.0, 50.0, 50.0))]
    for truth, found in (scene(objects, []), scene([], [("a", 0.9, (0, 0, 50, 50))]), scene([], [])):
        text = text_of(written(tmp_path, truth, found, "voc07"))
        assert "|recall|" in text
        assert "|precision|" in text


def test_pictures_are_large_enough_to_enlarge_and_their_boxes_lie_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[tuple[int, ...], list[float], list[float]]] = []
    points: list[tuple[object, object]] = []

    def draw(
        image: np.ndarray,
        boxes: np.ndarray,
        *rest: object,
        labelled: np.ndarray,
        keypoints: np.ndarray | None,
        skeleton: object,
    ) -> np.ndarray:
        drawn.append((image.shape, boxes[0].tolist(), labelled[0].tolist()))
        points.append((None if keypoints is None else keypoints.tolist(), skeleton))
        return image

    monkeypatch.setattr(evaluation_page, "draw_detections", draw)
    truth, found = scene([("a", (10, 20, 50, 50))], [("a", 0.9, (10, 20, 50, 60))])
    for side, shown in ((100, 640), (1000, 1000), (2000, 1100)):
        written(tmp_path, replace(truth, sizes=np.array([[side, side // 2]], np.int32)), found, "coco")
        scale = shown / side
        assert drawn[-1][0] == (shown // 2, shown, 3)
        assert drawn[-1][1] == pytest.approx([10 * scale, 20 * scale, 60 * scale, 80 * scale])
        assert drawn[-1][2] == pytest.approx([10 * scale, 20 * scale, 60 * scale, 70 * scale])
    assert points[-1] == (None, ())
    large = replace(
        truth, sizes=np.array([[2200, 1100]], np.int32), layout=KeypointLayout(("a", "b"), ((0, 1),))
    )
    ends = np.array([[[19.5, 29.5], [39.5, 49.5]]])  # COCO numbers pixels
    written(tmp_path, large, replace(found, keypoints=ends), "coco")
    assert points[-1] == ([[[10, 15], [20, 25]]], ((0, 1),))


def test_a_curve_counts_a_hundred_detections_of_a_class_and_image(tmp_path: Path) -> None:
    """The object is found by the twelfth detection."""
    place = (0.0, 0.0, 50.0, 50.0)
    false = [("a", 0.9 - 0.01 * k, (100.0 + 60 * k, 0.0, 50.0, 50.0)) for k in range(11)]
    html = written(tmp_path, *scene([("a", place)], [*false, ("a", 0.5, place)]), "coco")
    svg = html.split('id="precision-and-recall"')[1].split("</svg>")[0]
    ((drawn,),) = (re.findall(r'<path d="([^"]*)" stroke="[^"]*" class="line"><title>a<', svg),)
    heights = {float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", drawn)}
    nothing = written(tmp_path, *scene([("a", place)], false), "coco")
    svg = nothing.split('id="precision-and-recall"')[1].split("</svg>")[0]
    ((flat,),) = (re.findall(r'<path d="([^"]*)" stroke="[^"]*" class="line"><title>a<', svg),)
    assert min(heights) < min(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", flat))
