from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.coordinates import corners_to_voc, xywh_to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.explain import covered, explain_class, explain_zero
from tests.reference.small_scene import scene


def good_detections(seed: int, num_images: int = 12) -> tuple[AnnotationSet, DetectionSet]:
    """Images of 300 x 500 with 4 objects each of 5 classes, found with small errors, in COCO boxes."""
    rng = np.random.default_rng(seed)
    extent = rng.uniform(20, 120, (num_images * 4, 2))
    corner = rng.uniform(0, 1, extent.shape) * (np.array([500, 300]) - extent)
    boxes = np.concatenate([corner, extent], axis=1)
    labels = rng.integers(0, 5, len(boxes)).astype(np.int32)
    truth = replace(
        scene([], [], "abcde")[0],
        image_files=np.array([f"{i}.jpg" for i in range(num_images)]),
        image_ids=np.arange(num_images),
        sizes=np.tile(np.array([[300, 500]], np.int32), (num_images, 1)),
        offsets=np.arange(num_images + 1) * 4,
        boxes=boxes,
        labels=labels,
        difficult=np.zeros(len(boxes), bool),
        crowd=np.zeros(len(boxes), bool),
        areas=extent.prod(1),
        ids=np.arange(len(boxes)) + 1,
    )
    noisy = boxes + rng.normal(0, 0.03, boxes.shape) * np.tile(extent, 2)
    images = np.repeat(np.arange(num_images), 4)
    return truth, DetectionSet(images, labels, rng.uniform(0.3, 1, len(boxes)), noisy, "coco")


def corners(found: DetectionSet) -> np.ndarray:
    return xywh_to_corners(found.boxes)


def xywh(x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray) -> np.ndarray:
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)


def turned_clockwise(found: DetectionSet) -> np.ndarray:
    x1, y1, x2, y2 = corners(found).T
    return xywh(300 - y2, x1, 300 - y1, x2)


def turned_back(found: DetectionSet) -> np.ndarray:
    x1, y1, x2, y2 = corners(found).T
    return xywh(y1, 500 - x2, y2, 500 - x1)


def upside_down(found: DetectionSet) -> np.ndarray:
    x1, y1, x2, y2 = corners(found).T
    return xywh(500 - x2, 300 - y2, 500 - x1, 300 - y1)


def centred(found: DetectionSet) -> np.ndarray:
    return np.concatenate([found.boxes[:, :2] + found.boxes[:, 2:] / 2, found.boxes[:, 2:]], axis=1)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("xyxy_as_xywh", corners),
        ("centre_as_corner", centred),
        ("normalised_coordinates", lambda found: found.boxes / np.array([500, 300, 500, 300])),
        ("swapped_axes", lambda found: found.boxes[:, [1, 0, 3, 2]]),
        ("wrong_orientation", upside_down),
        ("wrong_orientation", turned_clockwise),
        ("wrong_orientation", turned_back),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_spoiled_boxes_are_named(kind: str, spoil, seed: int) -> None:
    truth, found = good_detections(seed)
    assert covered(truth, found) > 0.9
    causes = explain_zero(truth, replace(found, boxes=spoil(found)))
    assert causes[0].kind == kind
    assert causes[0].likelihood > 0.9
    assert "%" in causes[0].message


def test_xywh_among_voc_boxes_is_named() -> None:
    truth, found = good_detections(0)
    truth = replace(truth, boxes=corners_to_voc(xywh_to_corners(truth.boxes)), box_format="voc")
    assert explain_zero(truth, replace(found, box_format="voc"))[0].kind == "xywh_as_xyxy"


@pytest.mark.parametrize("shift", [-1, 1])
def test_shifted_and_reordered_classes_are_named(shift: int) -> None:
    truth, found = good_detections(1)
    causes = explain_zero(truth, replace(found, labels=(found.labels + shift) % 5))
    assert causes[0].kind == "category_shift"
    assert f"label k should be k {-shift:+d} " in causes[0].message
    shuffled = np.array([2, 3, 4, 1, 0])[found.labels].astype(np.int32)
    causes = explain_zero(truth, replace(found, labels=shuffled))
    assert causes[0].kind == "classes_reordered"
    assert "c → a" in causes[0].message


def test_other_images_are_named() -> None:
    truth, found = good_detections(2)
    half = replace(truth, offsets=np.minimum(truth.offsets, 24))
    half = replace(
        half, **{n: getattr(truth, n)[:24] for n in ("boxes", "labels", "difficult", "crowd", "areas", "ids")}
    )
    later = found.images >= 6
    elsewhere = replace(
        found, **{n: getattr(found, n)[later] for n in ("images", "labels", "scores", "boxes")}
    )
    cause = explain_zero(half, elsewhere)[0]
    assert cause.kind == "ids_disjoint"
    assert "0 of 6 images" in cause.message


def test_low_scores_nothing_learned_and_nothing_there() -> None:
    truth, found = good_detections(3)
    rng = np.random.default_rng(0)
    noise = replace(found, boxes=rng.uniform(0, 60, found.boxes.shape))
    assert explain_zero(truth, noise)[0].kind == "not_learned"
    assert explain_zero(truth, replace(noise, scores=found.scores / 100))[0].kind == "scores_under_floor"
    assert explain_zero(*scene([], []))[0].kind == "no_objects"
    assert explain_zero(*scene([("a", (0, 0, 9, 9))], []))[0].kind == "no_detections"


def test_detections_of_one_class_only_are_not_called_reordered() -> None:
    truth, found = good_detections(4)
    one = replace(found, labels=np.full_like(found.labels, 2))
    assert "classes_reordered" not in [cause.kind for cause in explain_zero(truth, one)]


def test_a_single_class() -> None:
    box = (0.0, 0.0, 100.0, 100.0)
    truth, found = scene(
        [("a", box), ("b", (200, 200, 50, 50))],
        [("b", 0.9, box), ("c", 0.9, (500, 500, 9, 9)), ("b", 0.9, (200, 200, 20, 50))],
    )
    assert explain_class(truth, found, 0).kind == "taken_for_another"
    assert explain_class(truth, found, 1).kind == "localised_poorly"
    assert explain_class(truth, found, 2).kind == "no_objects"
    assert explain_class(*scene([("a", box)], [("b", 0.5, (500, 500, 9, 9))]), 0).kind == "no_detections"
    assert explain_class(*scene([("a", box)], [("a", 0.5, (500, 500, 9, 9))]), 0).kind == "not_learned"


def test_two_classes_the_wrong_way_round_are_named() -> None:
    truth, found = good_detections(1)
    truth = replace(truth, classes=("a", "b"), labels=truth.labels % 2)
    causes = explain_zero(truth, replace(found, labels=(found.labels + 1) % 2))
    assert "category_shift" in [cause.kind for cause in causes]


def test_what_is_said_of_other_images_and_low_scores() -> None:
    truth, found = good_detections(2, 20)
    assert [c.kind for c in explain_zero(truth, on_images(found, 2))] != ["ids_disjoint"]  # a tenth
    (cause, *_) = explain_zero(truth, on_images(found, 1))
    assert (cause.kind, cause.likelihood) == ("ids_disjoint", 0.95)
    assert cause.message == (
        "only 1 of 20 images with objects have any detection; the detections seem to belong to another "
        "split, or their image ids were numbered anew"
    )
    for highest, kinds in ((0.05, []), (0.0499, ["scores_under_floor"])):
        quiet = replace(found, scores=np.linspace(0.01, highest, len(found.scores)))
        causes = explain_zero(truth, quiet)
        assert [cause.kind for cause in causes if cause.kind != "not_learned"] == kinds
    assert causes[0].message == (
        "the highest score is 0.0499; a threshold above it keeps nothing. An untrained model, or scores that "
        "are not probabilities"
    )


def on_images(found: DetectionSet, count: int) -> DetectionSet:
    """Return the detections of the first images."""
    kept = found.images < count
    return replace(found, **{n: getattr(found, n)[kept] for n in ("images", "labels", "scores", "boxes")})


def test_what_is_said_where_nothing_explains_it() -> None:
    truth, found = scene(
        [("a", (0, 0, 100, 100)), ("b", (200, 0, 100, 100))],
        [("a", 0.9, (0, 0, 50, 100)), ("b", 0.9, (600, 0, 100, 100)), ("c", 0.9, (200, 0, 25, 100))],
    )
    (cause,) = explain_zero(truth, found)
    assert (cause.kind, cause.likelihood) == ("not_learned", 0.2)
    assert cause.message == (
        "no mistake of convention explains it: of the objects, detections of the right class cover 50% and "
        "those of any class 50%; the median detection has an IoU of 0.25 with the nearest object. The model "
        "may not have learned yet"
    )


def test_what_is_said_of_a_class() -> None:
    boxes = [(0.0, 0.0, 100.0, 100.0), (200.0, 0.0, 100.0, 100.0)]
    half, tenth = (0.0, 0.0, 50.0, 100.0), (0.0, 0.0, 10.0, 100.0)
    objects = [("a", box) for box in boxes]

    def said(
        *found: tuple[str, float, tuple[float, float, float, float]], label: int = 0
    ) -> tuple[object, ...]:
        cause = explain_class(*scene(objects, list(found)), label)
        return cause.kind, round(cause.likelihood, 3), cause.message

    assert said(label=1) == ("no_objects", 1.0, "the annotations hold no b, so there is no AP")
    assert said() == ("no_detections", 1.0, "there are no detections of a")
    assert said(("c", 0.9, half), ("c", 0.9, boxes[0]), ("b", 0.9, boxes[1])) == (
        "taken_for_another",
        0.5,
        "detections of c lie on 1 of 2 objects of a",
    )
    assert said(("a", 0.9, half)) == (
        "ranked_low",
        0.5,
        "some detections lie on objects of a, but far down the ranking or on ignored objects",
    )
    message = "no detection of a reaches an IoU of 0.5 with an object; the best is"
    assert said(("a", 0.9, tenth)) == ("localised_poorly", 0.9, f"{message} 0.10")
    assert said(("a", 0.9, (0.0, 0.0, 9.0, 100.0))) == ("not_learned", 0.91, f"{message} 0.09")
