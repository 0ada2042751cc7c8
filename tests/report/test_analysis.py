from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.evaluation.analysis.outcomes import OUTCOMES
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.matching import MatchRecords
from detkit.report.analysis import (
    GROUPS,
    MEANING,
    OUTCOME_MEANING,
    SHOWN_AS,
    error_bars,
    group_table,
    outcome_table,
    score_plots,
    threshold_table,
    zero_notes,
)
from detkit.report.content import ReportData
from detkit.report.html import render
from detkit.report.operating_point import OperatingPoint, operating_point


@pytest.fixture
def records() -> MatchRecords:
    kept = evaluate_coco(*two_images(), records=True).records
    assert kept is not None
    return kept


@pytest.fixture
def point(records: MatchRecords) -> OperatingPoint:
    """The detections from 0.9 (cat) and 0.7 (dog) on."""
    return operating_point(*two_images(), records, advise_thresholds(*two_images(), records).max_f1)


def test_bars_show_the_cost_of_every_kind_and_how_many_a_user_sees(
    records: MatchRecords, point: OperatingPoint
) -> None:
    bars = error_bars(*two_images(), records, point)
    assert [bar.name for bar in bars] == [SHOWN_AS.get(kind, kind) for kind in MEANING]
    background = bars[4]
    assert background.text == f"{background.value:.3f} (1)", "the false detection at 0.1 is not seen"
    assert background.value > 0


def test_objects_are_grouped_by_size_and_by_crowding(records: MatchRecords) -> None:
    table = group_table(*two_images(), records)
    assert table is not None
    assert [row[0] for row in table.rows] == list(GROUPS.values())
    assert [row[1] for row in table.rows] == [1, 2, 0, 3, 0, 0]
    medium, large = table.rows[1][2], table.rows[2][2]
    assert isinstance(medium, float)
    assert 0.5 < medium <= 1
    assert large is None


def test_every_object_is_found_or_missed_for_a_reason(records: MatchRecords, point: OperatingPoint) -> None:
    table = outcome_table(two_images()[0], point)
    assert table is not None
    assert set(OUTCOME_MEANING) == {*OUTCOMES, "quiet"}
    assert table.rows == (("found", 2, 2 / 3), (OUTCOME_MEANING["unseen"], 1, 1 / 3))


def test_an_object_whose_detection_is_not_sure_enough_is_said_to_be(records: MatchRecords) -> None:
    truth, found = two_images()
    best = advise_thresholds(truth, found, records).max_f1
    stricter = replace(best, threshold=np.array([0.9, 0.75]))
    table = outcome_table(truth, operating_point(truth, found, records, stricter))
    assert table is not None
    assert table.rows == (
        ("found", 1, 1 / 3), (OUTCOME_MEANING["quiet"], 1, 1 / 3), (OUTCOME_MEANING["unseen"], 1, 1 / 3)
    )  # fmt: skip


def test_table_has_a_row_for_each_class(records: MatchRecords) -> None:
    table = threshold_table(("cat", "dog"), advise_thresholds(*two_images(), records))
    assert [row[0] for row in table.rows] == ["cat", "dog"]
    assert table.rows[0][1:5] == (1.0, 0.9, 1.0, 1.0)
    assert table.rows[1][1:5] == (0.5, 0.7, 0.5, 0.5)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_f1_and_precision_are_drawn_over_the_score_with_the_threshold_marked(records: MatchRecords) -> None:
    best = advise_thresholds(*two_images(), records).max_f1
    best = replace(best, precision=np.array([1.0, 0.25]))  # of the dog it is F1 otherwise
    f1, precision = (plot.curves[1] for plot in score_plots(*two_images(), records, best))
    assert f1.x.tolist() == [0.1, 0.7, 0.8]
    np.testing.assert_allclose(f1.y, [0.4, 0.5, 0.0])
    np.testing.assert_allclose(precision.y, [1 / 3, 1 / 2, 0.0])
    assert (f1.mark, f1.value) == ((0.7, 0.5), 0.5)
    assert (precision.mark, precision.value) == ((0.7, 0.25), 0.25)


def test_a_zero_is_explained_and_another_number_is_not() -> None:
    truth, found = two_images()
    fine = np.array([0.3, 0.3])
    assert zero_notes(truth, found, 0.3, fine) == ()
    (note, *_) = zero_notes(truth, replace(found, boxes=found.boxes / 100), 0.0, 0 * fine)
    assert "shares of the image" in note
    assert zero_notes(truth, found, float("nan"), fine * np.nan)


def test_a_class_at_zero_is_explained_while_others_are_fine() -> None:
    truth, found = two_images()
    as_cats = replace(found, labels=np.zeros(4, np.int32))
    (note,) = zero_notes(truth, as_cats, 0.5, np.array([1.0, 0.0]))
    assert note == "dog: AP 0: detections of cat lie on 1 of 2 objects of dog"


def test_zeros_come_before_what_is_missing_and_the_rest_is_only_named() -> None:
    truth, found = two_images()
    many = replace(truth, classes=tuple("abcdef"), labels=np.array([0, 5, 5], np.int32))
    *notes, rest = zero_notes(many, found, 0.2, np.array([1.0, *[np.nan] * 4, 0.0]))
    assert [note[:6] for note in notes] == ["f: AP ", "b: AP ", "c: AP "]
    assert "the annotations hold no b" in notes[1]
    assert rest == "AP is 0 or n/a for 2 more: d, e"


def test_nothing_labelled_gives_no_bars_and_a_page_all_the_same() -> None:
    truth, found = two_images()
    nothing = replace(
        truth,
        offsets=np.zeros(3, np.int64),
        boxes=np.zeros((0, 4)),
        labels=np.zeros(0, np.int32),
        difficult=np.zeros(0, bool),
        crowd=np.zeros(0, bool),
        areas=np.zeros(0),
        ids=np.zeros(0, np.int64),
    )
    records = evaluate_coco(nothing, found, records=True).records
    assert records is not None
    advice = advise_thresholds(nothing, found, records)
    point = operating_point(nothing, found, records, advice.max_f1)
    assert point.thresholds.tolist() == [0.5, 0.5]
    assert error_bars(nothing, found, records, point) == ()
    assert outcome_table(nothing, point) is None
    recall, precision, _ = point.numbers(0.1)
    assert (recall.value, precision.value) == (None, 0.0)
    thresholds, plots = (
        threshold_table(truth.classes, advice),
        score_plots(nothing, found, records, advice.max_f1),
    )
    assert [curve.mark for plot in plots for curve in plot.curves] == [None] * 4
    assert "n/a" in render(ReportData(title="t", thresholds=thresholds, score_plots=plots))
