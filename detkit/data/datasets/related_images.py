"""Images that belong on one side of a division: near duplicates, frames of a film, versions of one image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_paths, read_image
from detkit.data.datasets.roles import role
from detkit.data.datasets.split_leaks import Leaks
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
_LEAST_FRAMES = 4  # of a film that two sides may share: of fewer, chance makes half of the neighbours alike

_EXPORTED = re.compile(r"\.rf\.[0-9a-zA-Z]+$")  # Roboflow's name of a version of an image
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True)
class Series:
    """Images in the order of their names, such as the frames of a film.

    Attributes:
        images: positions in the set.
        steps: how much each differs from the one before; one fewer than images.
    """

    images: list[int]
    steps: list[float]

    @property
    def is_film(self) -> bool:
        """Whether these are frames of films, and not numbered photographs of different things."""
        return 2 * sum(step <= NEIGHBOURS for step in self.steps) >= len(self.steps)

    def links(self) -> Iterator[tuple[int, int]]:
        """Yield the neighbours that show one scene."""
        most = CUT if self.is_film else NEIGHBOURS
        for pair, step in zip(pairwise(self.images), self.steps, strict=True):
            if step <= most:
                yield pair


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
    return [_series(images, thumbnails) for images in members.values()]


def leaks_between(train: AnnotationSet, val: AnnotationSet) -> Leaks:
    """Return what training and validation share."""
    thumbnails = [*thumbnails_of(train), *thumbnails_of(val)]
    seen = [place for place, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    pairs = near_duplicates(np.asarray([thumbnails[place] for place in seen], dtype=np.uint8))
    sides = [{"train"}] * train.num_images + [{"val"}] * val.num_images
    return Leaks(
        sum(seen[one] < train.num_images <= seen[other] for one, other, _ in pairs),
        len(shared_films([*image_paths(train), *image_paths(val)], thumbnails, sides)),
    )


def shared_films(
    files: Sequence[str], thumbnails: Sequence[Thumbnail | None], sides: Sequence[Set[str]]
) -> list[list[tuple[int, int]]]:
    """Return, for each film that lies on two sides, the neighbours of one scene that lie on different ones.

    Args:
        files: names of the images.
        thumbnails: of each; see `thumbnails_of`.
        sides: of a division that each is on, such as train; those of an image on none are not looked at.
    """
    shared = (
        [(a, b) for a, b in film.links() if sides[a] and sides[b] and not sides[a] & sides[b]]
        for film in _numbered([*map(_undivided, files)], thumbnails)
        if film.is_film and len(film.images) >= _LEAST_FRAMES
    )
    return [cuts for cuts in shared if cuts]


def _links(files: Sequence[str], thumbnails: Sequence[Thumbnail | None]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for image, file in enumerate(files):
        if _EXPORTED.search(PurePath(file).stem):
            yield first.setdefault(_original(file), image), image
    seen = [image for image, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    for one, other, _ in near_duplicates(np.asarray([thumbnails[image] for image in seen], dtype=np.uint8)):
        yield seen[one], seen[other]
    for series in _numbered(files, thumbnails):
        yield from series.links()


def _numbered(files: Sequence[str], thumbnails: Sequence[Thumbnail | None]) -> Iterator[Series]:
    """Yield the images whose names differ in a number alone, in its order."""
    numbered: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for image, file in enumerate(files):
        if parts := _NUMBERED.fullmatch(_original(file)):
            name, number, ending = parts.groups()
            numbered[str(PurePath(file).parent), name, ending].append((int(number), image))
    for images in numbered.values():
        yield _series([image for _, image in sorted(images)], thumbnails)


def _undivided(file: str) -> str:
    """Return a path without the folders of a division: train/a/1.jpg and val/a/2.jpg may be of one film."""
    *folders, name = PurePath(file).parts
    return str(PurePath(*(one for one in folders if role(one.rstrip("0123456789")) is None), name))


def _series(images: list[int], thumbnails: Sequence[Thumbnail | None]) -> Series:
    return Series(
        images, [_difference(thumbnails[one], thumbnails[other]) for one, other in pairwise(images)]
    )


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
