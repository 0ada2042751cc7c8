from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.annotations.dataset import DetectionSet
from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.voc import evaluate_voc
from detkit.report.mistakes import worst_mistakes


def blank(index: int) -> np.ndarray:
    return np.full((100, 100, 3), 120, np.uint8)


def test_false_detections_by_score_and_missed_objects_take_turns() -> None:
    truth, found = two_images()
    records = evaluate_voc(truth, found, records=True).records
    assert records is not None
    pictures = worst_mistakes(truth, found, records, blank)
    assert [(p.tag, p.caption, p.note) for p in pictures] == [
        ("nothing there", "dog 0.80", "b.jpg"),
        ("missed", "dog", "b.jpg"),
        ("nothing there", "dog 0.10", "b.jpg"),
    ]
    assert all(max(p.image.shape) == 320 for p in pictures)
    assert len(worst_mistakes(truth, found, records, blank, limit=1)) == 1


def test_the_reason_is_named() -> None:
    truth, _ = two_images()
    found = DetectionSet(
        images=np.array([0, 0, 0, 0]),
        labels=np.array([0, 0, 1, 0], np.int32),
        scores=np.array([0.9, 0.8, 0.7, 0.6]),
        boxes=np.array([[10.0, 10, 40, 40], [11, 10, 40, 40], [10, 10, 41, 40], [30, 30, 40, 40]]),
        box_format="coco",
    )
    records = evaluate_voc(truth, found, records=True).records
    assert records is not None
    tags = [p.tag for p in worst_mistakes(truth, found, records, blank) if p.tag != "missed"]
    assert tags == ["found twice", "wrong class", "poor box"]


def test_each_image_is_read_once_and_difficult_objects_are_not_missed() -> None:
    truth, found = two_images()
    truth = replace(truth, difficult=np.array([False, False, True]))
    records = evaluate_voc(truth, found, records=True).records
    assert records is not None
    read: list[int] = []

    def pixels(index: int) -> np.ndarray:
        read.append(index)
        return blank(index)

    pictures = worst_mistakes(truth, found, records, pixels)
    assert "missed" not in {p.tag for p in pictures}
    assert len(read) == len(set(read))


def test_no_mistakes_no_pictures() -> None:
    truth, found = two_images()
    perfect = DetectionSet(
        truth.image_index(), truth.labels, np.ones(truth.num_objects), truth.boxes, found.box_format
    )
    records = evaluate_voc(truth, perfect, records=True).records
    assert records is not None
    assert worst_mistakes(truth, perfect, records, blank) == ()
