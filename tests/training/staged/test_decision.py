"""What SVMs and box regression learn from, against the papers' rules written out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from detkit.data.regions.training_regions import TrainingRegions
from detkit.detectors.staged_recipe import mining_of
from detkit.models.roi.decision import RidgeDeltas, SVMScores
from detkit.models.roi.decision_config import SVMDecisionConfig
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Target
from detkit.training.staged import decision as learn_decision
from detkit.training.staged.decision import (
    SVMExamples,
    fill_box_regression,
    fill_svms,
    fit_box_regression,
    fit_svms,
    negatives_of_classes,
)
from detkit.training.staged.mining_state import MiningState
from tests.reference.hard_negatives import mine_one_class
from tests.reference.ridge import encode, fit_and_predict
from tests.training.staged.some_regions import NUM_IMAGES, made_regions

CLASSES = ("cat", "dog")
WIDTH = 6
SETTINGS = {"below_iou": 0.3, "crowd_iou": 0.7}
SPEC = SVMDecisionConfig(features="pool5")


def fit(reader: Any, features: Any, config: SVMDecisionConfig, part: Path) -> None:
    mining = mining_of(config, drop_duplicates=reader.model.equal_features_count_once)
    fit_svms(reader, features, mining, CLASSES, part, negative_iou=config.negative_iou, seed=0)


@dataclass
class Model:
    layer: str = "pool5"
    equal_features_count_once: bool = False
    widths: Any = None


@dataclass
class Reader:
    regions: TrainingRegions
    model: Model


class Features:
    """Features that tell a little of what a region shows; both layers are the same."""

    def __init__(self, regions: TrainingRegions) -> None:
        self.of = []
        for image in range(NUM_IMAGES):
            target, boxes = regions.index.target(image), regions.boxes(image)
            iou = pairwise_iou(boxes, target.boxes).numpy()
            noise = np.random.default_rng(100 + image).random((len(boxes), WIDTH))
            noise[:, :3] += 2 * iou
            self.of.append(noise.astype(np.float32))

    def decision(self, image: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        return self.of[image] if rows is None else self.of[image][rows]

    def pool5(self, image: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.of[image][rows]

    def pool5_norms(self, image: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.sqrt((self.of[image][rows].astype(np.float64) ** 2).sum(axis=1))


@pytest.fixture
def reader() -> Any:
    return Reader(made_regions(), Model(widths={"pool5": WIDTH}))


def test_positives_are_the_objects_and_negatives_overlap_those_of_the_class_little(reader: Any) -> None:
    features = Features(reader.regions)
    examples = SVMExamples(reader, features, 3.0, len(CLASSES), 0.3)
    for image in range(NUM_IMAGES):
        rows, labels = examples.positives(image)
        assert labels.tolist() == [0, 1]  # the difficult one is not learned
        np.testing.assert_allclose(rows, 3.0 * features.of[image][:2])
        _, negative = examples.candidates(image)
        target = reader.regions.index.target(image)
        iou = pairwise_iou(reader.regions.boxes(image), target.boxes)
        for label in range(2):
            # All objects of the class count, the difficult one too; those of the other class do not.
            best = iou[:, target.labels == label].amax(dim=1)
            assert negative[:, label].tolist() == (best < 0.3).tolist()
        assert negative[1, 0]  # the dog itself is a negative of cats
        assert not negative[0, 0]
        middle = ((iou >= 0.3) & (iou < 1)).any(dim=1)
        assert bool(middle.any())


def test_svms_are_those_of_mining_class_by_class_on_features_of_norm_twenty(
    reader: Any, tmp_path: Path
) -> None:
    features, spec = Features(reader.regions), SPEC.model_copy(update={"retrain_after": 20})
    fit(reader, features, spec, tmp_path)
    svms = SVMScores(WIDTH, 2)
    fill_svms(svms, tmp_path)
    scale = 20 / np.linalg.norm(np.concatenate(features.of), axis=1).mean()  # fewer than 200 images and boxes
    examples = SVMExamples(reader, features, float(scale), 2, 0.3)
    for label in range(2):
        positives, images = [], []
        for image in range(NUM_IMAGES):
            rows, labels = examples.positives(image)
            positives += list(rows[labels == label])
            candidates, negative = examples.candidates(image)
            images.append((candidates, negative[:, label]))
        expected, _, _ = mine_one_class(
            np.stack(positives), images, retrain_after=20, hard_above=-1.0001, evict_below=-1.2
        )
        margins = svms.cls_score(torch.from_numpy(features.of[0]))[:, label].detach().numpy()
        scaled = scale * features.of[0].astype(np.float64)
        np.testing.assert_allclose(margins, scaled @ expected.weights + expected.bias, rtol=1e-3, atol=1e-3)


def test_box_regression_is_the_papers_on_regions_that_overlap_enough(reader: Any, tmp_path: Path) -> None:
    features = Features(reader.regions)
    fit_box_regression(reader, features, 2, tmp_path, ridge=1000.0, min_iou=0.6, seed=0)
    deltas = RidgeDeltas(WIDTH, 2)
    fill_box_regression(deltas, tmp_path)
    rows: dict[int, list[Any]] = {0: [], 1: []}
    for image in range(NUM_IMAGES):
        objects = reader.regions.objects(image)
        boxes = reader.regions.boxes(image).double().numpy()
        iou = pairwise_iou(reader.regions.boxes(image), objects.boxes).numpy()
        for row in range(len(boxes)):
            best = int(iou[row].argmax())
            if iou[row, best] > 0.6:
                target = encode(objects.boxes[best].double().numpy(), boxes[row])
                rows[int(objects.labels[best])].append((features.of[image][row], target))
    # The mean length of the features of all regions, as in the authors' rcnn_feature_stats.m, not of the
    # examples, which here is another.
    scale = 20 / np.linalg.norm(np.concatenate(features.of), axis=1).mean()
    of_examples = np.stack([row for label in rows for row, _ in rows[label]])
    assert 20 / np.linalg.norm(of_examples, axis=1).mean() < 0.9 * scale
    asked = features.of[0]
    found = deltas(torch.from_numpy(asked)).detach().numpy()
    for label, own in rows.items():
        assert any(not target.any() for _, target in own)  # the objects themselves are among them
        x, y = (np.stack(parts).astype(np.float64) for parts in zip(*own, strict=True))
        expected = fit_and_predict(scale * x, y, 1000.0, scale * asked.astype(np.float64))
        np.testing.assert_allclose(found[:, label], expected, rtol=1e-3, atol=1e-4)


def test_mining_is_told_the_papers_numbers(
    reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def mine(source: Any, state: MiningState, classes: Any, how: Any, **named: Any) -> None:
        asked.append(how)

    monkeypatch.setattr(learn_decision, "mine", mine)
    fit(reader, Features(reader.regions), SPEC, tmp_path)
    (how,) = asked
    assert (how.c, how.positive_weight, how.bias_multiplier) == (0.001, 2.0, 10.0)
    assert (how.hard_above, how.evict_below, how.retrain_after) == (-1.0001, -1.2, 2000)
    assert not how.drop_duplicates


def test_more_processes_than_classes_learn_what_one_learns(
    reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Features(reader.regions)

    def learn(part: Path) -> None:
        fit(reader, features, SPEC, part)
        fit_box_regression(reader, features, len(CLASSES), part, ridge=1000.0, min_iou=0.6, seed=0)

    learn(tmp_path / "one")
    parts: dict[tuple[str, ...], list[dict[str, NDArray[Any]]]] = {}

    def gather(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
        # The processes take turns here, the first one last, so that it finds what the others gave.
        given = parts.setdefault(arrays["weights"].shape[1:], [])
        given.append(arrays)
        if rank > 0:
            return None
        return {name: np.concatenate([one[name] for one in given]) for name in arrays}

    monkeypatch.setattr(learn_decision, "gather", gather)
    monkeypatch.setattr(learn_decision, "world_size", lambda: 3)
    for rank in (2, 1, 0):
        monkeypatch.setattr(learn_decision, "rank", lambda own=rank: own)
        learn(tmp_path / "three")
    for name in ("svms", "box_regression"):
        one, three = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("one", "three"))
        assert one.keys() == three.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(three[key], value)


def test_a_region_is_a_negative_of_the_classes_it_overlaps_little() -> None:
    target = Target.of(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10]]), torch.tensor([0, 2, 0])
    )
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],  # the objects themselves
            [50, 0, 60, 10],  # another object of class 0 alone
            [0, 0, 10, 3],  # IoU 0.3 exactly: not below
            [0, 0, 10, 2.9],
            [20, 20, 30, 30],
        ]
    )
    negative = negatives_of_classes(boxes, target, 3, **SETTINGS)
    assert negative.tolist() == [
        [False, True, False],
        [False, True, True],
        [False, True, False],
        [True, True, True],
        [True, True, True],
    ]


def test_difficult_objects_and_crowds_keep_regions_from_being_negatives() -> None:
    target = Target.of(torch.tensor([[0.0, 0, 100, 100], [200, 0, 300, 100]]), torch.tensor([0, 1]))
    target = replace(target, crowd=torch.tensor([True, False]), difficult=torch.tensor([False, True]))
    boxes = torch.tensor([[0.0, 0, 10, 10], [95, 0, 105, 10], [0, 0, 200, 100], [200, 0, 300, 90]])
    negative = negatives_of_classes(boxes, target, 2, **SETTINGS)
    # Inside the crowd; half inside; around it (IoU 0.5, but only half of it lies in it); on the difficult.
    assert negative.tolist() == [[False, True], [True, True], [True, True], [True, False]]


def test_without_objects_every_region_is_a_negative_of_all() -> None:
    target = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert negatives_of_classes(torch.rand(2, 4), target, 3, **SETTINGS).all()
    assert negatives_of_classes(torch.zeros(0, 4), target, 3, **SETTINGS).shape == (0, 3)


def test_classes_that_were_never_seen_keep_no_weights(tmp_path: Path) -> None:
    def leave(known: list[bool]) -> None:
        weights, bias = np.ones((3, WIDTH)), np.ones(3)
        file = tmp_path / learn_decision.SVMS
        learn_decision._leave(
            file, 2.0, labels=np.arange(3), weights=weights, bias=bias, known=np.array(known)
        )

    svms = SVMScores(WIDTH, 3)
    leave([False, True, False])
    fill_svms(svms, tmp_path)
    assert svms.cls_score.weight[1].tolist() == [2.0] * WIDTH
    assert not svms.cls_score.weight[::2].any()
    leave([True, True, True])
    fill_svms(svms, tmp_path)
    assert svms.cls_score.weight.tolist() == [[2.0] * WIDTH] * 3
