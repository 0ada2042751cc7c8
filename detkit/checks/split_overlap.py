"""Checks for what several splits share: images, near duplicates, films."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from detkit.checks.decoding import DecodedImage
from detkit.checks.findings import Finding, found
from detkit.checks.survey import Survey
from detkit.data.datasets.related_images import shared_films
from detkit.data.datasets.roles import ROLES, disjoint, role
from detkit.data.near_duplicates import SAME, near_duplicates
from detkit.names import counted


def check_splits(survey: Survey, *, everything: bool) -> Iterator[Finding]:
    """Yield images that are in two splits, and annotated ones that are in none.

    Args:
        survey: the annotations.
        everything: whether all of a dataset was read, so that images outside of every part are known.
    """
    for first, second in disjoint(survey.parts):
        there = {survey.files[image] for image in survey.parts[second]}
        for image in survey.parts[first]:
            path = survey.files[image]
            if path in there:
                message = f"it is in {first} and in {second}"
                yield found("split_overlap", path, f"{first}, {second}", message, images=[image])
    if everything and any(survey.parts.values()):
        named = {image for images in survey.parts.values() for image in images}
        for image, source in enumerate(survey.sources):
            if image not in named and survey.annotated[image]:
                message = f"no part names {survey.files[image].name}; it is not used"
                yield found("not_in_split", source, survey.files[image].name, message, images=[image])


def check_near_duplicates(survey: Survey, decoded: Mapping[Path, DecodedImage]) -> Iterator[Finding]:
    """Yield near duplicates: images that are there twice under two names, in two splits or in one.

    Args:
        survey: names the files.
        decoded: facts about each.
    """
    places = {path: image for image, path in reversed(list(enumerate(survey.files)))}
    paths = sorted(path for path in places if decoded[path].thumbnail is not None)
    roles = _roles(survey)
    thumbnails = np.asarray([decoded[path].thumbnail for path in paths], dtype=np.uint8)
    for one, other, difference in near_duplicates(thumbnails):
        first, second = sorted((paths[one], paths[other]), key=lambda p: (_order(roles[p]), p))
        exact = decoded[first].digest == decoded[second].digest
        same = exact or (difference <= SAME and not decoded[first].blank)
        how = f"nearly the same image (a difference of {difference:.0%})"
        if same:
            how = (
                "the very same file" if exact else f"the same image but for {difference:.1%} of its contrast"
            )
        if roles[first] and roles[second] and not roles[first] & roles[second]:
            here, there = _named(roles[first]), _named(roles[second])
            message = f"{how} is {second}; one is in {here}, the other in {there}"
            kind = "leaked_image" if same else "similar_across_splits"
            yield found(kind, first, here, message, images=[places[first]])
        elif same:
            yield found("duplicate_image", second, None, f"{how} is {first}", images=[places[second]])


def check_films(survey: Survey, decoded: Mapping[Path, DecodedImage]) -> Iterator[Finding]:
    """Yield films that were cut within a scene: neighbours on the two sides of a cut look alike.

    Args:
        survey: names the files.
        decoded: facts about each.
    """
    places = {path: image for image, path in reversed(list(enumerate(survey.files)))}
    paths, roles = sorted(places), _roles(survey)
    thumbnails = [decoded[path].thumbnail for path in paths]
    for cuts in shared_films([*map(str, paths)], thumbnails, [roles[path] for path in paths]):
        first, second = sorted((paths[image] for image in cuts[0]), key=lambda path: _order(roles[path]))
        here, there = _named(roles[first]), _named(roles[second])
        message = (
            f"it is in {here}, and the frame next to it, {second}, in {there}; they look alike, as in "
            f"{counted(len(cuts), 'place')} of this film, so results will look too good"
        )
        yield found("shared_film", first, here, message, images=[places[first]])


def _roles(survey: Survey) -> dict[Path, set[str]]:
    """Return the roles of the parts that an image is in; an empty set for any other path."""
    roles: dict[Path, set[str]] = defaultdict(set)
    for part, images in survey.parts.items():
        if name := role(part):
            for image in images:
                roles[survey.files[image]].add(name)
    return roles


def _order(roles: set[str]) -> int:
    return min(map(ROLES.index, roles), default=len(ROLES))


def _named(roles: set[str]) -> str:
    return " and ".join(sorted(roles))
