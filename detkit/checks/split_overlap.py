"""Checks for images that several splits share, by name or as near duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.checks.decoding import DecodedImage
from detkit.checks.findings import Finding, found
from detkit.checks.roles import ROLES, disjoint, role
from detkit.checks.survey import Survey

SAME, SIMILAR = 0.06, 0.2
"""Largest difference of the thumbnails of the same image, and of similar ones, as a fraction of contrast."""

_WORDS = 5  # of 64 bits; two codes that differ in at most 4 bits share one
_MOST_ALIKE = 2000  # blank images all have one code: of a larger group only neighbours are compared
_LEAST_CONTRAST = 6.0  # grey levels; less is noise


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


def near_duplicates(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of near duplicates, and how much they differ (0: not at all).

    A perceptual code (the signs of the differences of neighbours in a 9 x 8 image) finds candidates, so
    that not every pair is compared; the larger thumbnail decides. An image stored again, in another size or
    quality, is found; mirrored and cropped ones are not.

    Args:
        thumbnails: (N, S, S) grey images.
    """
    if len(thumbnails) < 2:
        return
    codes = np.stack([_code(thumbnail) for thumbnail in thumbnails])
    contrast = np.maximum([thumbnail.std() for thumbnail in thumbnails], _LEAST_CONTRAST)
    for first, second in sorted(_candidates(codes)):
        apart = thumbnails[first].astype(np.float32) - thumbnails[second]
        difference = float(np.sqrt(np.mean(apart**2)))
        fraction = difference / float(min(contrast[first], contrast[second]))
        if fraction <= SIMILAR:
            yield first, second, fraction


def _code(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return 64 bits that survive another storing of the image."""
    small = cv2.resize(thumbnail, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.asarray(small[:, 1:] > small[:, :-1] + 1).ravel()


def _candidates(codes: NDArray[np.bool_]) -> set[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for word in np.array_split(np.arange(codes.shape[1]), _WORDS):
        keys = np.packbits(codes[:, word], axis=1)
        padded = np.zeros((len(keys), 8), dtype=np.uint8)
        padded[:, : keys.shape[1]] = keys
        values = padded.view(np.uint64).ravel()
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=values[order][0] + 1))
        for group in np.split(order, starts[1:]):
            pairs |= _near(codes, group)
    return pairs


def _near(codes: NDArray[np.bool_], group: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Return the pairs of a group whose codes differ in few bits."""
    pairs: set[tuple[int, int]] = set()
    wide = len(group) if len(group) <= _MOST_ALIKE else 2
    for at, first in enumerate(group[:-1].tolist()):
        others = group[at + 1 : at + wide]
        close = (codes[others] != codes[first]).sum(axis=1) < _WORDS
        pairs.update((min(first, int(o)), max(first, int(o))) for o in others[close])
    return pairs
