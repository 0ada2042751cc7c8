from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from detkit.report.content import (
    Bar,
    ConfusionMatrix,
    Curve,
    DatasetSummary,
    Mistakes,
    Number,
    Picture,
    Plot,
    ReportData,
    Table,
)
from detkit.report.html import render, write_report

EVIL = "\"><script>alert('x')</script><img src=x onerror=alert(1)>"
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Collects tags and refuses what is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parse(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def full(text: str = "cat", classes: int = 2) -> ReportData:
    image = np.zeros((20, 30, 3), np.uint8)
    curve = Curve(text, np.array([0.0, 1.0]), np.array([1.0, 0.5]), 0.75)
    return ReportData(
        title=text,
        subtitle=text,
        summary=(Number(text, 0.5, text), Number("mAP", None)),
        per_class=Table((text, "AP"), ((text, 0.5),), bars=("AP",), colours=True, links=("mistakes-0",)),
        pr_curves=Plot(text, "recall", (curve,) * classes),
        training=(Plot(text, text, (curve,)),),
        samples=(Picture(image, text, text, text),),
        mistakes=(Mistakes(0, text, text, (Picture(image, text, text, text),) * 20),),
        confusion=ConfusionMatrix((text, "background"), np.eye(2, dtype=np.int64)),
        errors=(Bar(text, 0.1, text, text),),
        thresholds=Table((text, "F1"), ((text, text),)),
        score_plots=(Plot(text, "score", (curve,) * classes),),
        notes=(text,),
        datasets=(DatasetSummary(text, 3, 1, {text: 4}, np.array([10.0, 40.0])),),
        config_yaml=text,
        environment={text: text},
        command=text,
    )


@pytest.mark.parametrize("classes", [2, 20])
def test_user_text_cannot_break_out(classes: int) -> None:
    page = parse(render(full(EVIL, classes)))
    assert "script" not in page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert {value for tag, name, value in page.attributes if name == "src" and value} == {
        value
        for tag, name, value in page.attributes
        if name == "src" and value and value.startswith("data:image/")
    }


def test_page_loads_nothing_from_elsewhere() -> None:
    text = render(full())
    assert not re.search(r"https?://|url\(|@import|<link", text)
    assert "default-src 'none'" in text


def test_all_sections_are_there_and_linked() -> None:
    page = parse(render(full()))
    targets = {value for _, name, value in page.attributes if name == "id"}
    links = {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href" and value}
    assert links == targets
    assert len(targets) == 11


def test_pictures_enlarge_without_a_script_and_say_what_they_show() -> None:
    picture = Picture(np.zeros((20, 30, 3), np.uint8), "dog 0.80", "nothing there", "b.jpg")
    text = render(ReportData(title="t", samples=(picture,)))
    (enlarging,) = re.findall(r'<details class="enlarge"><summary>(<img .*?)</details>', text)
    assert 'alt="nothing there, dog 0.80, b.jpg"' in enlarging
    assert "position: fixed" in text


def test_mistakes_beyond_the_first_of_a_class_are_folded_away() -> None:
    page = render(full())
    shown, folded = page.split("15 more of cat")
    assert shown.count('alt="cat, cat, cat"') - folded.count('alt="cat, cat, cat"') == 1 + 5 - 15
    assert '<a href="#mistakes-0">cat</a>' in page
    assert 'id="mistakes-0"' in page


def test_recall_goes_to_one_and_scores_only_as_far_as_there_are_any() -> None:
    curve = Curve("cat", np.array([0.0, 0.5]), np.array([1.0, 0.5]))
    for label, end in (("recall", 226.0), ("score", 428.0)):
        page = render(ReportData(title="t", pr_curves=Plot("t", label, (curve,), (0.0, 1.0))))
        (x,) = re.findall(r'<path d="M[^"]*L([\d.]+) [\d.]+" stroke="[^"]*" class="line">', page)
        assert float(x) == pytest.approx(end, abs=10)


@pytest.mark.parametrize(("classes", "shown"), [(20, True), (21, False)])
def test_colours_are_explained_while_they_can_be_told_apart(classes: int, shown: bool) -> None:
    rows = tuple((f"c{k}", 0.5) for k in range(classes))
    picture = Picture(np.zeros((20, 30, 3), np.uint8), "dog 0.80")
    page = render(ReportData(title="t", per_class=Table(("class", "AP"), rows), samples=(picture,)))
    assert ('<ul class="legend">' in page) == shown
    assert "leads to" not in page
    assert "leads to its worst mistakes" in render(full())


def test_a_plot_is_one_drawing_of_few_classes_and_one_each_of_many() -> None:
    counts = [
        parse(render(ReportData(title="t", pr_curves=full("cat", n).pr_curves))).tags.count("svg")
        for n in (8, 9)
    ]
    assert counts == [1, 9]


def test_sections_without_data_are_left_out() -> None:
    page = parse(render(ReportData(title="empty")))
    assert "section" not in page.tags
    assert "h1" in page.tags


def test_boxes_without_objects_and_curves_without_points() -> None:
    nothing = Curve("c", np.zeros(0), np.zeros(0))
    data = ReportData(
        title="nothing found",
        pr_curves=Plot("t", "recall", (nothing,)),
        datasets=(DatasetSummary("empty", 1, 1, {"cat": 0}, np.zeros(0)),),
    )
    parse(render(data))


def test_large_pictures_are_scaled_down() -> None:
    data = ReportData(title="t", samples=(Picture(np.zeros((1000, 4000, 3), np.uint8), "big"),))
    page = parse(render(data))
    assert ("img", "width", "1100") in page.attributes
    assert ("img", "height", "275") in page.attributes


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "report.html"
    write_report(target, ReportData(title="first"))
    write_report(target, ReportData(title="second"))
    assert "second" in target.read_text(encoding="utf-8")
    assert [file.name for file in target.parent.iterdir()] == ["report.html"]


def test_names_that_no_text_can_hold_are_shown(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", full("\x1b[31m\0\ud800"))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "\\u001b[31m\\u0000\\ud800" in text
    assert text.replace("\n", "").isprintable()
    parse(text)
