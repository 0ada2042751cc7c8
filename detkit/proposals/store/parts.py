"""Proposal store written in parts, so that an interrupted run can be resumed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from detkit.errors import UserError
from detkit.proposals.proposals import Proposals
from detkit.proposals.store.store import Origin, ProposalStore, write_store

MOST_IMAGES = 256
MOST_SECONDS = 10.0  # so much work is lost when a process is killed


class StoreParts:
    """The proposals of some of the images of a store to be, in the folder FILE.parts.

    Each part is a store itself, of images that follow one another. Several processes, also of several
    machines, may add parts at the same time; a part of other images or of another method, which has another
    key, is passed over.

    Args:
        file: the store to be.
        names: N image names.
        origin: what the boxes come from; its key is that of these images, this method and its parameters.
        origin_of: the same of some of the images, by their positions, where a store may be without others,
            which could not be read; None allows none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = StoreParts(Path(folder) / "x.safetensors", ["a.jpg", "b.jpg"], Origin("me", {}, "1"))
        ...     parts.add(1, Proposals.empty(), seconds=0.1)
        ...     parts.flush()
        ...     missing = parts.missing(range(2))
        ...     parts.add(0, Proposals.empty(), seconds=0.1)
        ...     parts.flush()
        ...     missing, len(parts.join())
        ([0], 2)
    """

    def __init__(
        self,
        file: Path,
        names: Sequence[str],
        origin: Origin,
        origin_of: Callable[[Sequence[int]], Origin] | None = None,
    ) -> None:
        self.file, self.names, self.origin = file, names, origin
        self.origin_of = origin_of or (lambda images: origin)
        self.folder = file.with_name(f"{file.name}.parts")
        self._first, self._waiting, self._seconds = 0, list[Proposals](), 0.0
        self._written = time.monotonic()

    def is_joined(self) -> bool:
        """Return whether the store is there already, perhaps without images that could not be read.

        Raises:
            UserError: another store, or another file, is in its place.
        """
        return self._joined() is not None

    def missing(self, wanted: Iterable[int]) -> list[int]:
        """Return the positions among `wanted` that neither a part nor the store holds yet."""
        done = {image for first, part in self._parts() for image in range(first, first + len(part))}
        done.update(self._joined() or ())
        return [image for image in wanted if image not in done]

    def summary(self, wanted: range) -> tuple[int, float, float]:
        """Return how many of the images are done, and their mean number of boxes and of seconds."""
        done: dict[int, int] = {}
        seconds, looked_at = 0.0, 0
        for first, part in self._parts():
            inside = [i for i in range(len(part)) if first + i in wanted]
            if inside:
                seconds, looked_at = seconds + part.origin.seconds, looked_at + len(part)
                counts = part.counts.tolist()
                done.update({first + i: counts[i] for i in inside})
        return len(done), sum(done.values()) / max(len(done), 1), seconds / max(looked_at, 1)

    def add(self, image: int, found: Proposals, seconds: float) -> None:
        """Take the proposals of the image at a position; they are on the disk after `flush` at the latest."""
        if image != self._first + len(self._waiting):
            self.flush()
        if not self._waiting:
            self._first, self._seconds = image, 0.0
        self._waiting.append(found)
        self._seconds += seconds
        if len(self._waiting) >= MOST_IMAGES or time.monotonic() - self._written > MOST_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last time."""
        self._written = time.monotonic()
        if not self._waiting:
            return
        stop = self._first + len(self._waiting)
        file = self.folder / f"{self._first:08d}-{stop:08d}.safetensors"
        origin = replace(self.origin, seconds=self._seconds)
        write_store(file, origin, self.names[self._first : stop], self._waiting.__getitem__)
        self._waiting = []

    def join(self, skipped: Container[int] = ()) -> ProposalStore:
        """Write the store from its parts, which are then removed, and return it.

        What is returned tells the time that the parts took; the file does not, and so is the same each time.

        Args:
            skipped: positions of images that the store is to be without.

        Raises:
            UserError: the parts do not hold every other image.
        """
        parts, joined = self._parts(), self._joined()
        places = (joined or {}) | {first + i: (part, i) for first, part in parts for i in range(len(part))}
        left = [image for image in range(len(self.names)) if image not in places]
        missing = [self.names[image] for image in left if image not in skipped]
        if not missing and (joined is None or len(places) > len(joined)):
            order = sorted(places)
            origin, names = self.origin_of(order), [self.names[image] for image in order]
            write_store(self.file, origin, names, lambda n: places[order[n]][0](places[order[n]][1]))
        elif joined is None:  # otherwise somebody else has joined and removed the parts meanwhile
            raise UserError(
                f"{self.folder}: {len(missing)} of {len(self.names)} images are not done yet, such as "
                f"{missing[0]}; let the other shards finish, or run without --merge to do them here"
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        store = ProposalStore.open(self.file)
        per_image = sum(part.origin.seconds for _, part in parts) / max(sum(len(p) for _, p in parts), 1)
        store.origin = replace(store.origin, seconds=per_image * len(store))
        return store

    def _joined(self) -> dict[int, tuple[ProposalStore, int]] | None:
        """Return the store that is there already, and the row in it, by the positions of its images."""
        if not self.file.exists():
            return None
        there = ProposalStore.open(self.file)
        places = {name: image for image, name in enumerate(self.names)}
        images = [places[name] for name in there.names if name in places]
        if there.origin.key != self.origin_of(images).key:
            raise UserError(
                f"{self.file}: exists already and holds boxes by {there.origin.method} of other images or "
                "with other parameters; name another file"
            )
        return {image: (there, row) for row, image in enumerate(images)}

    def _parts(self) -> list[tuple[int, ProposalStore]]:
        parts = []
        for file in sorted(self.folder.glob("*.safetensors")):
            try:
                part = ProposalStore.open(file)
            except UserError:
                continue  # of an older format, or damaged: its images are done again
            if part.origin.key == self.origin.key:
                parts.append((int(file.stem.split("-")[0]), part))
        return parts
