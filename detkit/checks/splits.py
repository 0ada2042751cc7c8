"""Checks whether parts of a dataset share images, by name or by what is on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from detkit.checks.findings import Finding, found
from detkit.checks.near_duplicates import SAME, alike
from detkit.checks.pictures import Picture
from detkit.checks.roles import disjoint, role
from detkit.checks.survey import Survey


def check_splits(survey: Survey, *, everything: bool) -> Iterator[Finding]:
    """Yield images that are in two parts, and annotated ones that are in none.

    Args:
        survey: the annotations.
        everything: whether all of a dataset was read, so that images outside of every part are known.
    """
    for first, second in disjoint(survey.parts):
        there = {survey.files[image] for image in survey.parts[second]}
        for image in survey.parts[first]:
            path = survey.files[image]
            if path in there:
                told = f"it is in {first} and in {second}"
                yield found("split_overlap", path, f"{first}, {second}", told, images=[image])
    if everything and any(survey.parts.values()):
        named = {image for images in survey.parts.values() for image in images}
        for image, source in enumerate(survey.sources):
            if image not in named and survey.annotated[image]:
                told = f"no part names {survey.files[image].name}; it is not used"
                yield found("not_in_split", source, survey.files[image].name, told, images=[image])


def check_likeness(survey: Survey, pictures: Mapping[Path, Picture]) -> Iterator[Finding]:
    """Yield pictures that are there twice under two names, in two parts or in one.

    Args:
        survey: names the files.
        pictures: what was seen of each.
    """
    places = {path: image for image, path in reversed(list(enumerate(survey.files)))}
    paths = sorted(path for path in places if pictures[path].likeness is not None)
    if len(paths) < 2:
        return
    roles = _roles(survey)
    likenesses = np.stack([np.asarray(pictures[path].likeness) for path in paths])
    for one, other, difference in alike(likenesses):
        first, second = sorted((paths[one], paths[other]), key=lambda p: (_order(roles.get(p)), p))
        apart = roles.get(first) and roles.get(second) and not roles[first] & roles[second]
        exact = pictures[first].digest == pictures[second].digest
        same = exact or (difference <= SAME and not pictures[first].blank)
        how = "the very same file" if exact else f"the same picture but for {difference:.1%} of its contrast"
        if apart and same:
            told = f"{how} is {second}; one is in {_told(roles[first])}, the other in {_told(roles[second])}"
            yield found("leaked_image", first, _told(roles[first]), told, images=[places[first]])
        elif apart:
            told = (
                f"nearly the same picture (a difference of {difference:.0%}) is {second}; one is in "
                f"{_told(roles[first])}, the other in {_told(roles[second])}"
            )
            yield found("similar_across_splits", first, _told(roles[first]), told, images=[places[first]])
        elif same:
            yield found("duplicate_image", second, None, f"{how} is {first}", images=[places[second]])


def _roles(survey: Survey) -> dict[Path, set[str]]:
    roles: dict[Path, set[str]] = {}
    for part, images in survey.parts.items():
        name = role(part)
        if name is not None:
            for image in images:
                roles.setdefault(survey.files[image], set()).add(name)
    return roles


def _order(roles: set[str] | None) -> int:
    return min((("train", "val", "test").index(name) for name in roles), default=3) if roles else 3


def _told(roles: set[str]) -> str:
    return " and ".join(sorted(roles))
