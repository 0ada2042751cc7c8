from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.accuracy import Accuracy, measure_accuracy
from detkit.report.classification import MISTAKES_OF_CLASS, first_classes, surest_mistakes

LABELS = np.array([0, 0, 0, 1, 1], np.int32)
GUESSES = np.array([0, 1, 1, 1, -1], np.int32)  # nothing comes first for the last image
SCORES = np.array([0.9, 0.6, 0.8, 0.7, 0.0])


@pytest.fixture
def accuracy() -> Accuracy:
    some = GUESSES >= 0
    return measure_accuracy(LABELS, np.flatnonzero(some), GUESSES[some], SCORES[some], 2)


def test_images_are_counted_by_their_class_and_the_one_that_comes_first(accuracy: Accuracy) -> None:
    matrix = first_classes(accuracy, ("cat", "dog"))
    assert matrix.names == ("cat", "dog", "nothing")
    assert matrix.counts.tolist() == [[1, 2, 0], [0, 1, 1], [0, 0, 0]]


def test_mistakes_are_those_of_the_labelled_class_the_surest_first(accuracy: Accuracy) -> None:
    truth = replace(two_images()[0], image_files=np.array([f"{i}.jpg" for i in range(5)]))
    (cat,) = surest_mistakes(accuracy, truth, lambda image: np.zeros((40, 60, 3), np.uint8))
    assert (cat.label, cat.name, cat.note) == (0, "cat", "2 of 3 images classified as another")
    assert [(p.caption, p.tag, p.note) for p in cat.pictures] == [
        ("labelled cat", "wrong class", "2.jpg"),
        ("labelled cat", "wrong class", "1.jpg"),
    ]


def test_only_so_many_mistakes_of_a_class_are_shown() -> None:
    many = 3 * MISTAKES_OF_CLASS
    labels, ones = np.zeros(many, np.int32), np.ones(many, np.int32)
    accuracy = measure_accuracy(labels, np.arange(many), ones, np.linspace(0, 1, many), 2)
    truth = replace(two_images()[0], image_files=np.array(["a.jpg"] * many))
    (cat,) = surest_mistakes(accuracy, truth, lambda image: np.zeros((4, 6, 3), np.uint8))
    assert len(cat.pictures) == MISTAKES_OF_CLASS
