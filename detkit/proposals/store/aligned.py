"""A file of proposals beside the dataset it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError
from detkit.proposals.proposals import Proposals
from detkit.proposals.store.foreign import ForeignProposals, order_of, proposals_of
from detkit.proposals.store.foreign_json import read_proposal_json
from detkit.proposals.store.foreign_mat import read_proposal_mat
from detkit.proposals.store.store import Origin, ProposalStore, write_store
from detkit.proposals.store.store_names import positions_of
from detkit.storage.content_keys import cache_folder, digests_of_files, key_of

_READER_VERSION = 1  # to be raised when a reader comes to read other boxes
_READERS = {".mat": read_proposal_mat, ".json": read_proposal_json}
_PICKLES = (".pkl", ".pickle")


@dataclass(frozen=True)
class Aligned:
    """A store that has the proposals of a dataset.

    Attributes:
        path: the store.
        positions: (N,) where in it each image is.
        unlisted: images that the original file has nothing about, taken as without proposals.
    """

    path: Path
    positions: NDArray[np.int64]
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
        return Aligned(store.path, positions)
    if file.suffix.lower() not in _READERS:
        kind = "pickles are not read, because they can run code" if file.suffix.lower() in _PICKLES else ""
        raise UserError(
            f"{file}: {kind}{kind and '; '}proposals are read from .safetensors (detkit propose writes it), "
            ".mat (selective search, EdgeBoxes) and .json (COCO results)"
        )
    return _converted(file, truth)


def _converted(file: Path, truth: AnnotationSet) -> Aligned:
    names, ids, sizes = truth.image_files.tolist(), truth.image_ids.tolist(), truth.sizes.tolist()
    key = key_of("foreign", _READER_VERSION, digests_of_files([str(file)], 1), file.suffix, names, ids, sizes)
    kept = cache_folder() / "proposals" / f"file-{key}.safetensors"
    if not kept.exists():
        found = _READERS[file.suffix.lower()](file)
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
            raise UserError(
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
        names = ", ".join(truth.image_files[missing[:5]].tolist()) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{file}: has no proposals for {len(missing)} of {truth.num_images} images: {names}; images are "
            "known by path, file name or id, and the file must have all of the dataset"
        )
