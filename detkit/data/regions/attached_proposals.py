"""Proposals of a dataset's images, for detectors that are given them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detkit.data.datasets.source import FilePixels, Source
from detkit.data.regions.propose_images import propose_images
from detkit.errors import UserError
from detkit.names import counted
from detkit.proposals.builder import METHOD_VERSIONS, build_proposer, parameters_of
from detkit.proposals.config import ExternalProposalsConfig, ProposalFileConfig
from detkit.proposals.proposals import Proposer
from detkit.proposals.store.aligned import aligned_store
from detkit.proposals.store.parts import StoreParts
from detkit.proposals.store.store import Origin, ProposalStore
from detkit.runtime.cores import num_cores
from detkit.runtime.processes import from_main, rank, world_size
from detkit.runtime.progress import say
from detkit.spec import CustomConfig
from detkit.storage.content_keys import cache_folder, digests_of_files, digests_of_pixels, key_of

# Processes that wait for the first one give up after half an hour, so now and then they are told to go on.
_ROUND_S = 300.0


@dataclass(frozen=True)
class StoredBoxes:
    """Proposals of a dataset's images, read from a store.

    Attributes:
        store: the file.
        positions: (N,) int64, where in the file each image of the dataset is.
        limit: keep the first so many of an image; None keeps all.
    """

    store: ProposalStore
    positions: NDArray[np.int64]
    limit: int | None

    def __call__(self, image: int) -> NDArray[np.float32]:
        """Return the (P, 4) float32 corner boxes, in pixels, of an image of the dataset."""
        return self.store(int(self.positions[image])).best(self.limit).boxes


def attach_proposals(
    spec: ExternalProposalsConfig | None, source: Source, part: Literal["train", "val"]
) -> Source:
    """Return a dataset together with the proposals of its images, or as it is where a detector needs none.

    Boxes that have to be computed are so once: they are kept in the cache folder (`cache_folder`) under a key
    of the images' content, the method and its parameters, and every later run finds them there. Of several
    processes the first one computes, on all cores. What is done when it is stopped need not be done again.

    Args:
        spec: `external_proposals` of a detector's config; None for one that makes its own, or needs none.
        source: the images.
        part: which of the config's datasets they are.

    Raises:
        UserError: a file lacks images of the dataset, or was made for other images; an image cannot be read.
    """
    if spec is None:
        return source
    if isinstance(spec, ProposalFileConfig):
        store, positions = _from_file(spec, source, part)
        return replace(source, proposals=StoredBoxes(store, positions, spec.max_boxes))
    store = _stored(_Work(spec, source, part))
    return replace(source, proposals=StoredBoxes(store, np.arange(len(store)), None))


def _from_file(
    spec: ProposalFileConfig, source: Source, part: Literal["train", "val"]
) -> tuple[ProposalStore, NDArray[np.int64]]:
    named = spec.train if part == "train" else spec.val
    if named is None:
        raise UserError(
            f"detector.proposals.{part}: names no file with proposals for the images of data.{part}; "
            "detkit propose makes one"
        )
    found = from_main(lambda: aligned_store(Path(named), source.annotations))
    if found.unlisted and rank() == 0:
        gets = "gets" if found.unlisted == 1 else "get"
        images = counted(found.unlisted, "image")
        say(f"{named}: nothing about {images} of data.{part}, which {gets} no proposals")
    return ProposalStore.open(found.path), found.positions


def _stored(work: _Work) -> ProposalStore:
    """Return the store that the first process makes, round by round."""
    path = from_main(work.go_on)
    while path is None:
        path = from_main(work.go_on)
    if not path.exists():
        raise UserError(
            f"{path}: process {rank()} does not see what process 0 wrote there; on several machines set "
            "DETKIT_CACHE to a folder that all of them share"
        )
    return ProposalStore.open(path)


class _Work:
    """The store of a dataset's proposals, in the making."""

    def __init__(self, spec: ExternalProposalsConfig, source: Source, part: str) -> None:
        self.spec, self.source, self.part = spec, source, part

    def go_on(self) -> Path | None:
        """Work for a while; return the store's file once it is complete."""
        parts, images = self._parts, range(self.source.annotations.num_images)
        if parts.is_joined():
            return parts.file
        limit = _ROUND_S if world_size() > 1 else None
        pixels, proposer = self.source.pixels, self._proposer
        done = propose_images(parts, images, pixels, proposer, num_threads=num_cores(), most_s=limit)
        return parts.join().path if done else None

    @cached_property
    def _proposer(self) -> Proposer:
        return build_proposer(self.spec)

    @cached_property
    def _parts(self) -> StoreParts:
        spec, truth = self.spec, self.source.annotations
        names, parameters, version = (
            truth.image_files.tolist(),
            parameters_of(spec),
            METHOD_VERSIONS[spec.type],
        )
        key = key_of(spec.type, version, parameters, self._code(), names, self._content())
        file = cache_folder() / "proposals" / f"{spec.type}-{key}.safetensors"
        parts = StoreParts(file, names, Origin(spec.type, parameters, key))
        if not parts.is_joined():
            say(f"looking for proposals in {truth.num_images} images of data.{self.part}: {spec.type}")
            say(f"they are kept in {file}")
        return parts

    def _content(self) -> list[str]:
        images, pixels = range(self.source.annotations.num_images), self.source.pixels
        if isinstance(pixels, FilePixels):
            return digests_of_files([pixels.paths[image] for image in images], num_cores())
        return digests_of_pixels(pixels, images, num_cores())

    def _code(self) -> list[str]:
        """Return what tells versions of a user's own method apart."""
        if not isinstance(self.spec, CustomConfig):
            return []
        assert self._proposer is not None  # its module is loaded
        file = sys.modules[self.spec.target.split(":")[0]].__file__
        return [] if file is None else digests_of_files([file], 1)
