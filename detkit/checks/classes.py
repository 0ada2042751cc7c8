"""Checks of classes: names, ids, and the number of training objects of each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.checks.findings import Finding, found
from detkit.checks.survey import UNKNOWN, Arrays, Survey
from detkit.data.config import DataConfig
from detkit.data.datasets.roles import role
from detkit.names import counted

RARE = 10
"""A class with fewer training objects is hardly learned."""
IMBALANCE = 100
"""Ratio of class frequencies from which an imbalance is reported."""

_TYPO_LENGTH, _TYPO_RATIO, _TYPO_SHARE = 5, 0.84, 0.05


def check_classes(survey: Survey, objects: Arrays, wanted: DataConfig | None) -> Iterator[Finding]:
    """Yield what is wrong with the classes.

    Args:
        survey: the annotations.
        objects: of the survey.
        wanted: has the classes of a config; None where there is none.
    """
    labelled = np.bincount(objects.labels[objects.labels != UNKNOWN], minlength=len(survey.names))
    counts = Counter(dict(zip(survey.names, labelled.tolist(), strict=True)))
    if wanted is not None:
        yield from _unlisted(survey, objects, wanted)
    yield from _unused(survey, counts, wanted)
    yield from _alike(survey.names if wanted is None else [*survey.names, *wanted.classes], counts)
    yield from _balance(survey, objects, wanted)


def _unlisted(survey: Survey, objects: Arrays, wanted: DataConfig) -> Iterator[Finding]:
    known = {*wanted.classes, *wanted.ignore_classes}
    unknown = [label for label, name in enumerate(survey.names) if name not in known]
    for row in np.flatnonzero(np.isin(objects.labels, unknown)).tolist():
        name = survey.names[survey.labels[row]]
        close = get_close_matches(name, wanted.classes, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        message = f"{name!r} is neither in data.classes nor in data.ignore_classes{hint}"
        yield survey.about_object("unknown_class", row, message)


def _unused(survey: Survey, counts: Counter[str], wanted: DataConfig | None) -> Iterator[Finding]:
    listed: dict[str, Path | None] = {}
    if wanted is None:
        for group in survey.groups:
            for name in group.classes:
                listed.setdefault(name, group.place)
    elif survey.files:  # drawn images and those sorted by class have no annotations to be checked
        listed = dict.fromkeys(wanted.classes)
    told = "is listed but has no object" if wanted is None else "of data.classes has no object"
    for name, place in listed.items():
        if not counts[name]:
            yield found("unused_class", place, name, f"{name!r} {told}")


def _alike(names: Sequence[str], counts: Counter[str]) -> Iterator[Finding]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups["".join(c for c in name.casefold() if c.isalnum()) or name].append(name)
    for group in groups.values():
        if len(group) > 1:
            message = " and ".join(f"{name!r} ({counted(counts[name], 'object')})" for name in group)
            yield found("similar_classes", None, group[1], f"{message} are two classes")
    plain = [group[0] for group in groups.values()]
    for name in plain:
        for other in plain if len(name) >= _TYPO_LENGTH else ():
            rare, usual = counts[name], counts[other]
            if name != other and 0 < rare <= _TYPO_SHARE * usual and _is_typo(name, other):
                message = (
                    f"{name!r} ({counted(rare, 'object')}) looks like {other!r} ({usual} objects) misspelt"
                )
                yield found("similar_classes", None, name, message)


def _is_typo(name: str, other: str) -> bool:
    ratio = SequenceMatcher(None, name.casefold(), other.casefold()).ratio()
    digits = ["".join(c for c in text if c.isdigit()) for text in (name, other)]
    return ratio >= _TYPO_RATIO and abs(len(name) - len(other)) <= 1 and digits[0] == digits[1]


def _balance(survey: Survey, objects: Arrays, wanted: DataConfig | None) -> Iterator[Finding]:
    trained = _count(survey, objects, "train")
    evaluated = _count(survey, objects, "val", "test")
    if not any(role(part) == "train" for part in survey.parts):
        trained = _count(survey, objects)
    known = survey.names if wanted is None else wanted.classes
    labels = {name: label for label, name in enumerate(survey.names) if name in known}
    for name, label in labels.items():
        here, there = int(trained[label]), int(evaluated[label])
        if here == 0 and there:
            message = f"{name!r}: no training object, {there} for evaluation"
            yield found("untrained_class", None, name, message)
        elif 0 < here < RARE:
            yield found("rare_class", None, name, f"{name!r} has {counted(here, 'training object')}")
        if here and evaluated.any() and not there:
            number = counted(here, "training object")
            message = f"{name!r}: {number}, none for evaluation; its AP will be n/a"
            yield found("unjudged_class", None, name, message)
    present = {name: int(trained[label]) for name, label in labels.items() if trained[label]}
    if present:
        most, least = max(present, key=lambda n: present[n]), min(present, key=lambda n: present[n])
        if present[most] > IMBALANCE * present[least]:
            message = (
                f"{most!r} has {present[most]} training objects, {least!r} has {present[least]}; "
                "data.repeat_threshold repeats images of rare classes"
            )
            yield found("imbalanced_classes", None, least, message)


def _count(survey: Survey, objects: Arrays, *roles: str) -> NDArray[np.int64]:
    """Return how many objects of each class the parts of some roles have; without roles, all images."""
    chosen = np.zeros(len(survey.files) + 1, dtype=np.bool_)
    chosen[:-1] = not roles
    for part, images in survey.parts.items():
        if role(part) in roles:
            chosen[images] = True
    labels = objects.labels[chosen[objects.owners] & (objects.labels != UNKNOWN) & ~objects.crowd]
    return np.bincount(labels, minlength=len(survey.names))
