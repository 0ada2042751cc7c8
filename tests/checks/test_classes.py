"""Names of classes and how many objects each has, at the limits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from detkit.checks.classes import check_classes
from tests.checks.small_surveys import survey_of, told

BOX = (1, 2, 30, 40)


def classes_told(
    train: Mapping[str, int], val: Mapping[str, int] | None = None, part: str = "train"
) -> list[tuple[str, str | None, str]]:
    """Return what is said about so many objects of classes in a training image and a validation image."""
    objects = [(0, name, BOX) for name, count in train.items() for _ in range(count)]
    objects += [(1, name, BOX) for name, count in (val or {}).items() for _ in range(count)]
    survey, arrays = survey_of(objects, {part: [0]} if val is None else {part: [0], "val": [1]})
    return told(check_classes(survey, arrays, None))


def misspelt(rare: str, usual: str, rare_count: int = 1, usual_count: int = 20) -> bool:
    said = classes_told({rare: rare_count, usual: usual_count})
    return any(kind == "similar_classes" for kind, _, _ in said)


def test_a_rare_name_that_is_nearly_a_usual_one_is_misspelt() -> None:
    assert classes_told({"walnutt": 1, "walnut": 20}) == [
        ("similar_classes", "walnutt", "'walnutt' (1 object) looks like 'walnut' (20 objects) misspelt"),
        ("rare_class", "walnutt", "'walnutt' has 1 training object"),
    ]
    assert classes_told({"walnutt": 2, "walnut": 40})[0][2] == (
        "'walnutt' (2 objects) looks like 'walnut' (40 objects) misspelt"
    )


@pytest.mark.parametrize(
    ("rare", "usual", "counts", "expected"),
    [
        ("walnutt", "walnut", (1, 19), False),  # not rarer than one in twenty
        ("walnut", "walnutt", (1, 20), True),
        ("appel", "apple", (1, 20), False),  # two of five letters changed places: alike by 0.8
        ("appple", "apple", (1, 20), True),
        ("aple", "apple", (1, 20), False),  # short words resemble one another by chance
        ("car 12", "car 13", (1, 20), False),  # numbers tell them apart
        ("carton 12", "cartoon 12", (1, 20), True),
        ("WALNUTT", "walnut", (1, 20), True),
        ("chair", "chairman", (1, 20), False),
        ("greenhouses", "greenhousesxy", (1, 20), False),  # alike enough, but by two letters longer
    ],
)
def test_what_counts_as_misspelt(rare: str, usual: str, counts: tuple[int, int], expected: bool) -> None:
    assert misspelt(rare, usual, *counts) is expected


def test_names_that_differ_in_spelling_alone_are_told_together() -> None:
    said = classes_told({"Traffic light": 10, "traffic_light": 11, "trafficlight": 12})
    assert said == [
        (
            "similar_classes",
            "traffic_light",
            "'Traffic light' (10 objects) and 'traffic_light' (11 objects) and 'trafficlight' (12 objects) "
            "are two classes",
        )
    ]
    assert classes_told({"?": 10, "!": 10}) == []  # names without a letter are not all one


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        ({"cat": 10, "dog": 10}, {"cat": 1, "dog": 1}, []),
        ({"cat": 9, "dog": 10}, None, [("rare_class", "cat", "'cat' has 9 training objects")]),
        (
            {"dog": 10},
            {"cat": 2, "dog": 1},
            [("untrained_class", "cat", "'cat': no training object, 2 for evaluation")],
        ),
        (
            {"cat": 1, "dog": 10},
            {"dog": 1},
            [
                ("rare_class", "cat", "'cat' has 1 training object"),
                (
                    "unjudged_class",
                    "cat",
                    "'cat': 1 training object, none for evaluation; its AP will be n/a",
                ),
            ],
        ),
        ({"cat": 10, "dog": 1000}, None, []),
        (
            {"cat": 10, "dog": 1001},
            None,
            [
                (
                    "imbalanced_classes",
                    "cat",
                    "'dog' has 1001 training objects, 'cat' has 10; data.repeat_threshold repeats images of "
                    "rare classes",
                )
            ],
        ),
    ],
)
def test_numbers_of_objects_are_told_at_the_limit(
    train: Mapping[str, int], val: Mapping[str, int] | None, expected: list[tuple[str, str, str]]
) -> None:
    assert classes_told(train, val) == expected


def test_where_no_part_is_for_training_all_objects_are() -> None:
    assert classes_told({"cat": 6}, part="trainval") == [
        ("rare_class", "cat", "'cat' has 6 training objects")
    ]
    survey, arrays = survey_of([(0, "cat", BOX)] * 6 + [(1, "cat", BOX)] * 4, {"trainval": [0], "val": [1]})
    assert told(check_classes(survey, arrays, None)) == []


def test_regions_of_many_objects_do_not_count() -> None:
    survey, arrays = survey_of([(0, "cat", BOX)] * 10, {"train": [0]})
    arrays.crowd[3] = True
    assert told(check_classes(survey, arrays, None)) == [
        ("rare_class", "cat", "'cat' has 9 training objects")
    ]
