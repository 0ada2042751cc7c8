"""Proposals of a file matched to the images of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError, cut
from detkit.proposals.proposals import Proposals
from detkit.proposals.store.foreign import ForeignProposals, order_of, outside, proposals_of, require_numbers
from detkit.proposals.store.foreign_files import read_proposal_json, read_proposal_mat
from detkit.proposals.store.store import Origin, ProposalStore, write_store
from detkit.storage.content_keys import cache_folder, digests_of_files, key_of
from detkit.storage.regular_files import is_file

_READER_VERSION = 1  # to be raised when a reader comes to read other boxes
_READERS = {".mat": read_proposal_mat, ".json": read_proposal_json}
_PICKLES = (".pkl", ".pickle")

Positions = NDArray[np.int64]


class OtherImagesError(UserError):
    """The proposals are of other images than those of the dataset."""


@dataclass(frozen=True)
class Aligned:
    """A store that has the proposals of a dataset.

    Attributes:
        path: the store.
        positions: (N,) where in it each image is.
        unlisted: images that the original file has nothing about, taken as without proposals.
    """

    path: Path
    positions: Positions
    unlisted: int = 0


def aligned_store(file: Path, truth: AnnotationSet) -> Aligned:
    """Return a store with the proposals of every image of a dataset.

    The file of another tool becomes a store in the cache folder.

    Args:
        file: what `detkit propose` wrote, a .mat, or COCO results.
        truth: the dataset, N images with their sizes.

    Raises:
        UserError: the file cannot be read, is a pickle, lacks images of the dataset, or is of other
            images.
    """
    if file.suffix.lower() == ".safetensors":
        store = ProposalStore.open(file)
        positions = positions_of(store.names, truth)
        _require_every_image(positions, truth, file)
        _require_inside(store, positions, truth)
        return Aligned(store.path, positions)
    if file.suffix.lower() not in _READERS:
        kind = "pickles are not read, because they can run code" if file.suffix.lower() in _PICKLES else ""
        raise UserError(
            f"{file}: {kind}{kind and '; '}proposals are read from .safetensors (detkit propose writes it), "
            ".mat (selective search, EdgeBoxes) and .json (COCO results)"
        )
    return _converted(file, truth)


def _converted(file: Path, truth: AnnotationSet) -> Aligned:
    if not is_file(file):
        raise UserError(f"{cut(str(file), 300)}: cannot be read: no such file, or not a regular one")
    names, ids, sizes = truth.image_files.tolist(), truth.image_ids.tolist(), truth.sizes.tolist()
    key = key_of("foreign", _READER_VERSION, digests_of_files([str(file)], 1), file.suffix, names, ids, sizes)
    kept = cache_folder() / "proposals" / f"file-{key}.safetensors"
    if not kept.exists():
        found = _READERS[file.suffix.lower()](file)
        require_numbers(found, file)
        positions = _positions(found, truth, file)
        order = order_of(found, positions, truth, file)

        def proposals(image: int) -> Proposals:
            entry = int(positions[image])
            return proposals_of(found, entry, order, tuple(sizes[image])) if entry >= 0 else Proposals.empty()

        about = {"order": order, "unlisted": int((positions < 0).sum())}
        write_store(kept, Origin(file.name, about, key), names, proposals)
    store = ProposalStore.open(kept)
    return Aligned(kept, np.arange(len(names)), store.origin.parameters["unlisted"])


def _positions(found: ForeignProposals, truth: AnnotationSet, file: Path) -> NDArray[np.int64]:
    if found.names is None:
        if len(found.boxes) != truth.num_images:
            raise OtherImagesError(
                f"{file}: holds boxes of {len(found.boxes)} images and does not say which; the dataset has "
                f"{truth.num_images}, and their order must be the same"
            )
        return np.arange(truth.num_images)
    positions = positions_of(found.names, truth)
    if found.lists_all or not (positions >= 0).any():
        _require_every_image(positions, truth, file)
    return positions


def _require_every_image(positions: NDArray[np.int64], truth: AnnotationSet, file: Path) -> None:
    missing = np.flatnonzero(positions < 0)
    if len(missing):
        names = ", ".join(cut(name) for name in truth.image_files[missing[:5]].tolist())
        raise OtherImagesError(
            f"{file}: has no proposals for {len(missing)} of {truth.num_images} images: "
            f"{names}{', ...' if len(missing) > 5 else ''}; images are known by path, file name or id, and "
            "the file must have all of the dataset"
        )


def _require_inside(store: ProposalStore, positions: Positions, truth: AnnotationSet) -> None:
    """Raise unless every box can be read and lies in its image: here, and not in the middle of a training."""
    for image, position in enumerate(positions.tolist()):
        boxes, (height, width) = store(position).boxes, truth.sizes[image].tolist()
        beyond = outside(boxes, (height, width))
        if beyond.any():
            box, name = boxes[int(beyond.argmax())].tolist(), cut(str(truth.image_files[image]), 200)
            raise UserError(
                f"{store.path}: box {box} of {name} reaches beyond the image of {height} x {width} pixels. "
                "Are the boxes of other images, or of these in another size?"
            )


def positions_of(names: Sequence[str], truth: AnnotationSet) -> Positions:
    """Return for each image of a dataset the position of its name, -1 where there is none.

    An image is known by the end of its path, as far as the name goes, by its file name, by that without the
    extension, or by its id in the dataset: the first of these that tells all images apart and finds all of
    them, otherwise the one that finds most.

    Args:
        names: of the entries of a file of proposals.
        truth: the dataset, N images.

    Returns:
        (N,) positions in `names`.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> truth, _ = two_images()
        >>> positions_of([f"elsewhere/{name}" for name in truth.image_files.tolist()], truth)
        array([0, 1])
    """
    paths = [name.replace("\\", "/").removeprefix("./") for name in names]
    files = [str(file).replace("\\", "/") for file in truth.image_files.tolist()]
    best = _by_ends(paths, [Path(truth.root, file).as_posix() for file in files])
    for other, wanted in (
        ([PurePosixPath(path).name for path in paths], [PurePosixPath(file).name for file in files]),
        ([PurePosixPath(path).stem for path in paths], [PurePosixPath(file).stem for file in files]),
        (names, list(map(str, truth.image_ids.tolist()))),
    ):
        if (best >= 0).all():
            break
        best = max(best, _look_up(other, wanted), key=lambda found: np.count_nonzero(found >= 0))
    return best


def _by_ends(paths: list[str], files: list[str]) -> Positions:
    """Find the entry whose path is the longest end of each file's path."""
    table = _table(paths)
    found = []
    for file in files:
        parts = file.split("/")
        ends = ("/".join(parts[first:]) for first in range(len(parts)))
        found.append(next((table[end] for end in ends if end in table), -1))
    return _if_different(found)


def _look_up(keys: Sequence[str], wanted: Sequence[str]) -> Positions:
    table = _table(keys)
    return _if_different([table.get(key, -1) for key in wanted])


def _table(keys: Sequence[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for position, key in enumerate(keys):
        table[key] = -1 if key in table else position  # what two entries share tells nothing
    return table


def _if_different(positions: list[int]) -> Positions:
    """Return the positions; none where two images would share an entry."""
    found = np.array(positions, dtype=np.int64)
    known = found[found >= 0]
    return found if len(np.unique(known)) == len(known) else np.full_like(found, -1)
