"""Look at many images at the same time and keep what is found."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.proposals import NamedProposer, Proposals, Proposer
from detkit.proposals.store_parts import StoreParts

Pixels = Callable[[int], NDArray[np.uint8]]
"""Returns the (H, W, 3) uint8 RGB pixels of the image at a position."""

_BETWEEN_LINES_S = 0.2


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def propose_images(
    parts: StoreParts,
    wanted: Sequence[int],
    pixels: Pixels,
    proposer: Proposer,
    *,
    num_threads: int,
    most_s: float | None = None,
) -> bool:
    """Find the proposals of images that are not done yet, and keep them in parts of a store.

    However it ends, what is done is kept. Progress goes to stderr where that is a terminal.

    Args:
        parts: takes the proposals.
        wanted: positions of the images.
        pixels: of these images.
        proposer: the method.
        num_threads: images that are looked at at the same time.
        most_s: stop after about this time; None goes on to the end.

    Returns:
        Whether all are done.

    Raises:
        UserError: an image cannot be read, or the method does not return proposals.
        KeyboardInterrupt: after Ctrl-C, once the images in work are done.
    """
    missing = parts.missing(wanted)
    progress = _Progress(len(missing))

    def look(image: int) -> tuple[int, Proposals, float]:
        picture = pixels(image)
        start = time.perf_counter()
        if isinstance(proposer, NamedProposer):
            found = proposer.propose_named(picture, parts.names[image])
        else:
            found = proposer(picture)
        seconds = time.perf_counter() - start
        if not isinstance(found, Proposals):
            raise UserError(
                "a method of proposals must return detkit.proposals.proposals.Proposals, "
                f"not {type(found).__name__}"
            )
        return image, found, seconds

    try:
        for done, (image, found, seconds) in enumerate(_side_by_side(look, missing, num_threads), start=1):
            parts.add(image, found, seconds)
            progress(done)
            if most_s is not None and progress.seconds > most_s:
                return done == len(missing)
    finally:
        parts.flush()
        progress.clear()
    return True


def _side_by_side(
    look: Callable[[int], tuple[int, Proposals, float]], images: Sequence[int], num_threads: int
) -> Iterator[tuple[int, Proposals, float]]:
    """Yield what `look` returns for each image, in order; a bounded number of results waits."""
    remaining = iter(images)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="detkit-propose") as pool:
        queue = deque(pool.submit(look, image) for image in islice(remaining, 4 * num_threads))
        try:
            while queue:
                result = queue.popleft().result()
                queue.extend(pool.submit(look, image) for image in islice(remaining, 1))
                yield result
        finally:
            for future in queue:
                future.cancel()


class _Progress:
    """One line on stderr that says how far the work is; nothing where stderr is not a terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._start, self._shown = total, time.monotonic(), 0.0
        self._visible = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._start

    def __call__(self, done: int) -> None:
        if not self._visible or (self.seconds - self._shown < _BETWEEN_LINES_S and done > 1):
            return
        self._shown = self.seconds
        rate = done / max(self.seconds, 1e-9)
        left = _clock((self._total - done) / rate)
        text = f"proposals: {done}/{self._total} images, {rate:.1f} images/s, {left} left"
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._visible:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
