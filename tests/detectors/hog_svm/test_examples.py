from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.config.load import load_config
from detkit.data.datasets.builder import open_training_set
from detkit.data.loading.samples import DetectionDataset
from detkit.detectors.hog_svm.examples import HOGExamples, Variation, measured_windows
from detkit.detectors.hog_svm.model import HOGSVM
from detkit.models.hog.cut_windows import Windows, cut, windows_around
from detkit.models.hog.descriptor import HOG, hog_blocks
from detkit.models.hog.pyramid import Pyramid
from detkit.ops.boxes import pairwise_iou
from detkit.training.staged.mining_state import MiningState

STILL = Variation(mirror=False, jitter=0, jitter_px=0)


def test_measured_windows_have_the_shape_of_the_objects_and_the_area_of_small_ones() -> None:
    sides = np.array([[20.0, 40.0], [30.0, 60.0], [40.0, 80.0], [50.0, 100.0], [200.0, 400.0]])
    boxes = np.concatenate([np.zeros((5, 2)), sides], axis=1)
    labels = np.zeros(5, np.int64)
    # The area of which a fifth is not larger: 0.2 * 20 * 40 + 0.8 * 30 * 60 = 1600, so 28 x 57, and 8 around.
    [window, nothing] = measured_windows(boxes, labels, 2, HOG(), 8)
    assert window == (72, 48)
    assert nothing == (16, 16)
    # No larger than a person of the paper.
    [window] = measured_windows(boxes[4:], labels[4:], 1, HOG(), 16)
    assert window == (112, 72)
    # An object of a few pixels still leaves room between the context.
    [window] = measured_windows(np.array([[0.0, 0.0, 2.0, 2.0]]), labels[:1], 1, HOG(), 16)
    assert min(window) > 32


def test_jitter_moves_edges_by_a_few_pixels_of_the_window() -> None:
    windows = Windows(np.array([[100.0, 50.0]]), np.array([2.0]))
    varied = Variation(mirror=True, jitter=40, jitter_px=3).apply(
        windows, (128, 64), np.random.default_rng(0)
    )
    assert varied.corners.shape == (41, 2)
    np.testing.assert_array_equal(varied.corners[0], [100, 50])
    edges = varied.objects((128, 64), 0)
    apart = np.abs(edges - edges[0])
    assert 1 < apart[1:].max() <= 2 * 3 * 2 + 1e-9  # the window is kept in shape
    assert len(np.unique(varied.scales)) > 20
    np.testing.assert_allclose(edges[:, 3] - edges[:, 1], 2 * (edges[:, 2] - edges[:, 0]))


def examples(rounds: int = 1, variation: Variation = STILL, **more: object) -> HOGExamples:
    data = load_config("hog_svm_synthetic", ["data.train.num_images=4"]).data
    source, _ = open_training_set(data)
    model = HOGSVM(len(data.classes), pyramid=Pyramid(1.3), windows=[(32, 32)] * 4 + [(40, 32)], context_px=4)
    images = DetectionDataset.of(source, (), 0)
    settings = {
        "random_negatives": 6,
        "hard_per_image": 5,
        "hard_above": -1.0,
        "negative_iou": 0.3,
        "seed": 0,
    }
    state = MiningState.begin(4 * 3 * 36, len(data.classes))
    return HOGExamples(
        model=model, images=images, state=state, variation=variation, rounds=rounds, **(settings | more)
    )


def test_positives_are_the_objects_with_their_mirror_images() -> None:
    plain, labels = examples().positives(0)
    both, doubled = examples(variation=Variation(True, 0, 0)).positives(0)
    assert len(both) == len(doubled) == 2 * len(plain) > 0
    assert sorted(doubled.tolist()) == sorted([*labels.tolist(), *labels.tolist()])
    # A smaller window's features end with zeros.
    assert plain.shape[1] == 4 * 3 * 36
    assert not plain[labels < 4, 9 * 36 :].any()
    assert examples().positives(1)[0].shape == (0, 432)
    source = examples()
    pixels, target = source._read(0)
    box = target.boxes[:1].numpy()
    around = windows_around(box, source.model.window(int(target.labels[0])), 4)
    window = cut(
        pixels, around.corners[0], float(around.scales[0]), source.model.window(int(target.labels[0]))
    )
    described = hog_blocks(window, HOG(), -1).transpose(2, 0, 1).ravel()
    fits = pairwise_iou(
        torch.from_numpy(around.objects(source.model.window(int(target.labels[0])), 4)).float(),
        target.boxes[:1],
    )
    assert any(np.allclose(row[: len(described)], described) for row in plain) == bool(fits >= 0.5)


def test_the_first_turn_has_windows_at_random_that_are_no_objects() -> None:
    features, negative = examples().candidates(0)
    assert 0 < len(features) <= 4 * 5 * 6
    assert (negative.sum(axis=1) == 1).all()
    again, _ = examples().candidates(0)
    np.testing.assert_array_equal(features, again)
    other, _ = examples(seed=1).candidates(0)
    assert features.shape != other.shape or not np.array_equal(features, other)
    none, _ = examples(negative_iou=0.0).candidates(0)  # in an image with an object of a class none is one
    assert len(none) < len(features)


def test_later_turns_have_the_worst_windows_by_the_present_planes() -> None:
    source = examples(rounds=2)
    assert len(source) == 1 + 2 * 4
    assert source.candidates(1)[0].shape == (0, 432)  # nothing is fitted yet
    source.state.trained[2] = True
    source.state.weights[2, :324] = np.random.default_rng(0).normal(size=324) / 10
    features, negative = source.candidates(1)
    assert len(features) == 5
    assert (np.flatnonzero(negative.any(axis=0)) == [2]).all()
    margins = features @ source.state.weights[2]
    assert (np.diff(margins) <= 1e-6).all()
    every, _ = examples(hard_per_image=10**6, hard_above=-100.0, rounds=2).candidates(1)
    assert len(every) == 0
    many = examples(hard_per_image=10**6, rounds=2)
    many.state.trained[2], many.state.weights[2] = True, source.state.weights[2]
    all_margins = many.candidates(1)[0] @ source.state.weights[2]
    np.testing.assert_allclose(margins, np.sort(all_margins)[::-1][:5], rtol=1e-4, atol=1e-5)
    assert all_margins.min() >= -1.0001
    np.testing.assert_array_equal(source.candidates(5)[0], features)  # the second round begins with image 0


@pytest.mark.parametrize("iou", [0.3, 0.01])
def test_windows_on_objects_of_the_class_are_no_negatives(iou: float) -> None:
    source = examples(hard_per_image=10**6, negative_iou=iou, hard_above=-1e6)
    pixels, target = source._read(0)
    label = int(target.labels[0])
    source.state.trained[label] = True
    levels = source.model.levels(pixels)
    source.model.selection = type(source.model.selection)(margin_threshold=-1e9)
    boxes, *_ = source.model.windows(levels, (pixels.shape[0], pixels.shape[1]), label)
    objects = torch.from_numpy(source.model.objects(boxes, label)).float()
    free = (pairwise_iou(objects, target.boxes[target.labels == label]) < iou).all(dim=1)
    assert len(source.candidates(1)[0]) == int(free.sum())
