from __future__ import annotations

import numpy as np
import pytest

from detkit.evaluation.example import two_images
from detkit.evaluation.measure import Metric, measure, table
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.voc import evaluate_voc

METRICS: tuple[Metric, ...] = ("voc07", "voc10", "coco")


@pytest.mark.parametrize("metric", METRICS)
def test_every_rule_is_measured_whichever_decides(metric: Metric) -> None:
    measured = measure(*two_images(), metric)
    voc, coco = evaluate_voc(*two_images()), evaluate_coco(*two_images())
    expected = {
        "voc07": (voc.ap07, voc.map07),
        "voc10": (voc.ap10, voc.map10),
        "AP": (coco.per_class(range(10)), coco.stats["AP"]),
        "AP50": (coco.per_class([0]), coco.stats["AP50"]),
        "AP75": (coco.per_class([5]), coco.stats["AP75"]),
    }
    assert measured.columns.keys() == expected.keys()
    for name, (of_classes, total) in expected.items():
        assert measured.columns[name][1] == total == pytest.approx(np.mean(of_classes))
        np.testing.assert_array_equal(measured.columns[name][0], of_classes)
    deciding = {"voc07": "voc07", "voc10": "voc10", "coco": "AP"}[metric]
    assert next(iter(measured.columns)) == next(iter(measured.numbers())).removeprefix("map_") == deciding
    assert measured.value == expected[deciding][1]
    np.testing.assert_array_equal(measured.per_class, expected[deciding][0])


@pytest.mark.parametrize("metric", METRICS)
def test_json_holds_every_rule_and_the_keys_of_its_own(metric: Metric) -> None:
    measured = measure(*two_images(), metric)
    result = measured.to_json()
    assert result["metric"] == metric
    assert len(result["stats"]) == 12
    assert set(result["per_class"]) == {"cat", "dog"}
    assert set(result["per_class"]["dog"]) == {"voc07", "voc10", "AP", "AP50", "AP75"}
    assert result["map_voc07"] == pytest.approx((1 + 3 / 11) / 2), (
        "a dog at rank 2 of 2 found: 6 of 11 points at 1/2"
    )
    if metric == "coco":
        assert "map" not in result
    else:
        assert result["map"] == result[f"map_{metric}"]
        assert result["ap"] == {name: row[metric] for name, row in result["per_class"].items()}
    assert set(measured.numbers()) == {"map_voc07", "map_voc10", *result["stats"]}


def test_match_records_are_those_of_the_rule_that_decides() -> None:
    all_measured = [measure(*two_images(), metric) for metric in METRICS]
    assert [len(measured.records.thresholds) for measured in all_measured] == [1, 1, 10]
    for measured in all_measured:  # those of the other rule would only take memory
        assert measured.voc is not None
        assert measured.coco is not None
        assert (
            (measured.voc.records is None) == (measured.metric == "coco") != (measured.coco.records is None)
        )


def test_people_read_every_rule_by_its_name() -> None:
    heading, *classes, mean = table(measure(*two_images(), "voc10"))
    assert heading == ("class", ["VOC10 AP", "VOC07 AP", "COCO AP", "COCO AP50", "COCO AP75"])
    assert [name for name, _ in classes] == ["cat", "dog"]
    of_coco = table(measure(*two_images(), "coco"))[0][1]
    assert of_coco == ["COCO AP", "COCO AP50", "COCO AP75", "VOC07 AP", "VOC10 AP"]
    assert mean == ("mean", ["0.6250", "0.6364", "0.5884", "0.6262", "0.6262"])
