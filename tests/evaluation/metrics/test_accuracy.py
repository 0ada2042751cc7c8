"""Top-1 and top-5 against counting by hand, image by image."""

from __future__ import annotations

import numpy as np

from detkit.evaluation.metrics.accuracy import measure_accuracy


def test_counts_agree_with_looking_at_one_image_after_the_other() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 50).astype(np.int32)
    images = rng.integers(0, 50, 400)
    guesses = rng.integers(0, 10, 400).astype(np.int32)
    scores = rng.integers(0, 5, 400) / 5.0  # with ties
    found = measure_accuracy(labels, images, guesses, scores, 10)
    ranked = [[(-scores[d], d) for d in range(400) if images[d] == image] for image in range(50)]
    names = [[int(guesses[d]) for _, d in sorted(own)] for own in ranked]
    first = [own[:1] == [label] for own, label in zip(names, labels, strict=True)]
    assert found.top1 == np.mean(first)
    assert found.top5 == np.mean([label in own[:5] for own, label in zip(names, labels, strict=True)])
    for k in range(9):
        assert found.per_class[k] == np.mean(
            [hit for hit, label in zip(first, labels, strict=True) if label == k]
        )
    assert np.isnan(found.per_class[9])
    assert found.confusion().sum() == 50
    assert np.trace(found.confusion()[:, :10]) == sum(first)


def test_without_images_there_is_no_accuracy() -> None:
    none = np.zeros(0, np.int64)
    found = measure_accuracy(none.astype(np.int32), none, none.astype(np.int32), none.astype(float), 2)
    assert np.isnan([found.top1, found.top5, *found.per_class]).all()


def test_an_image_without_a_guess_is_wrong() -> None:
    found = measure_accuracy(
        np.array([0, 1], np.int32), np.array([1]), np.array([1], np.int32), np.ones(1), 2
    )
    assert (found.top1, found.first.tolist()) == (0.5, [-1, 1])
    assert found.confusion().tolist() == [[0, 0, 1], [0, 1, 0]]
