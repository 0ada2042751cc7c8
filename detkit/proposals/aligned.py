"""A file of proposals beside the dataset it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError
from detkit.proposals.store import ProposalStore
from detkit.proposals.store_names import positions_of


def aligned_store(file: Path, truth: AnnotationSet) -> tuple[Path, NDArray[np.int64]]:
    """Return a store of proposals and where in it each image of a dataset is.

    Args:
        file: a file that `detkit propose` wrote.
        truth: the dataset, N images.

    Returns:
        The store's file and (N,) positions.

    Raises:
        UserError: the file cannot be read, or lacks images of the dataset.
    """
    store = ProposalStore.open(file)
    positions = positions_of(store.names, truth)
    require_every_image(positions, truth, file)
    return store.path, positions


def require_every_image(positions: NDArray[np.int64], truth: AnnotationSet, file: Path) -> None:
    """Check that each image has an entry.

    Raises:
        UserError: names the first images that have none.
    """
    missing = np.flatnonzero(positions < 0)
    if len(missing):
        names = ", ".join(truth.image_files[missing[:5]].tolist()) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{file}: has no proposals for {len(missing)} of {truth.num_images} images: {names}. Images are "
            "known by path, file name or id; make the file for all images of this dataset"
        )
