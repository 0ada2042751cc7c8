"""Images that belong on one side of a division: near duplicates, frames of a film, versions of one image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_paths, read_image
from detkit.data.near_duplicates import difference, near_duplicates, thumbnail_of
from detkit.errors import UserError
from detkit.runtime.cores import num_cores
from detkit.runtime.progress import ProgressLine
from detkit.runtime.thread_map import map_threads
from detkit.storage.content_keys import file_stamp

MOST_COMPARED = 20_000
"""Images of a dataset that are looked at; of more, only the names tell."""
NEIGHBOURS = 0.8
"""Difference up to which images with consecutive numbers count as frames of one film. Random pairs of
photographs hardly ever differ less than 1.0, most neighbours of a film that was thinned out less than 0.8."""
CUT = 1.2
"""The same where at least half of the numbered images are that alike, and so are films: what moves quickly is
no other film."""

_EXPORTED = re.compile(r"\.rf\.[0-9a-zA-Z]+$")  # Roboflow's name of a version of an image
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True)
class Series:
    """Images that belong together, in the order of their names.

    Attributes:
        images: positions in the set.
        steps: how much each differs from the one before; one fewer than images.
    """

    images: list[int]
    steps: list[float]


def thumbnails_of(truth: AnnotationSet) -> list[Thumbnail | None]:
    """Return a thumbnail of each image; None for one that cannot be read, and for all of a multitude."""
    paths = image_paths(truth)
    if len(paths) > MOST_COMPARED:
        return [None] * len(paths)
    found = []
    with ProgressLine("comparing", len(paths)) as progress:
        for done, thumbnail in enumerate(map_threads(_thumbnail, paths, num_cores()), 1):
            found.append(thumbnail)
            progress(done)
    return found


def _thumbnail(path: str) -> Thumbnail | None:
    return _thumbnail_at(path, file_stamp(path))


@lru_cache(MOST_COMPARED)
def _thumbnail_at(path: str, stamp: object) -> Thumbnail | None:
    """Return the thumbnail of a file as it is now: `init` divides by them, and looks for leaks by them."""
    try:
        return thumbnail_of(read_image(Path(path)))
    except UserError:
        return None  # whoever reads the image says what is wrong with it


def series_of(files: Sequence[str], thumbnails: Sequence[Thumbnail | None]) -> list[Series]:
    """Return the series that the images of a set form, most of one image.

    Near duplicates are in one series, and what Roboflow has made of one original, and images with
    consecutive numbers in their names as far as neighbours look alike: frames of a film. Numbered photographs
    of different things do not.

    Args:
        files: names of the images.
        thumbnails: of each; see `thumbnails_of`.
    """
    parent = list(range(len(files)))
    for one, other in _links(files, thumbnails):
        parent[_root(parent, one)] = _root(parent, other)
    members: dict[int, list[int]] = defaultdict(list)
    for image in sorted(range(len(files)), key=lambda i: _sort_key(files[i])):
        members[_root(parent, image)].append(image)
    return [
        Series(
            images,
            [_difference(thumbnails[a], thumbnails[b]) for a, b in pairwise(images)],
        )
        for images in members.values()
    ]


def shared_images(train: AnnotationSet, val: AnnotationSet) -> list[tuple[str, str]]:
    """Return the pairs of near duplicates of which one is in training and one in validation."""
    thumbnails = [*thumbnails_of(train), *thumbnails_of(val)]
    paths = [*image_paths(train), *image_paths(val)]
    seen = [place for place, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    pairs = near_duplicates(np.asarray([thumbnails[place] for place in seen], dtype=np.uint8))
    return [
        (paths[seen[one]], paths[seen[other]])
        for one, other, _ in pairs
        if seen[one] < train.num_images <= seen[other]
    ]


def _links(files: Sequence[str], thumbnails: Sequence[Thumbnail | None]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for image, file in enumerate(files):
        if _EXPORTED.search(PurePath(file).stem):
            yield first.setdefault(_original(file), image), image
    seen = [image for image, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    for one, other, _ in near_duplicates(np.asarray([thumbnails[image] for image in seen], dtype=np.uint8)):
        yield seen[one], seen[other]
    films: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for image, file in enumerate(files):
        if numbered := _NUMBERED.fullmatch(_original(file)):
            name, number, ending = numbered.groups()
            films[str(PurePath(file).parent), name, ending].append((int(number), image))
    for frames in films.values():
        places = [image for _, image in sorted(frames)]
        steps = [_difference(thumbnails[one], thumbnails[other]) for one, other in pairwise(places)]
        are_films = 2 * sum(step <= NEIGHBOURS for step in steps) >= len(steps)
        for pair, step in zip(pairwise(places), steps, strict=True):
            if step <= (CUT if are_films else NEIGHBOURS):
                yield pair


def _difference(one: Thumbnail | None, other: Thumbnail | None) -> float:
    return float("inf") if one is None or other is None else difference(one, other)


def _original(file: str) -> str:
    return _EXPORTED.sub("", PurePath(file).stem)


def _sort_key(file: str) -> tuple[str, int, str]:
    numbered = _NUMBERED.fullmatch(_original(file))
    return (numbered[1], int(numbered[2]), file) if numbered else (_original(file), 0, file)


def _root(parent: list[int], image: int) -> int:
    while parent[image] != image:
        parent[image] = image = parent[parent[image]]
    return image
