"""Proposals of many images, computed in threads and kept on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.proposals import NamedProposer, Proposals, Proposer
from detkit.proposals.store.parts import StoreParts
from detkit.runtime.progress import ProgressLine
from detkit.runtime.thread_map import map_threads

Pixels = Callable[[int], NDArray[np.uint8]]
"""Returns the (H, W, 3) uint8 RGB pixels of the image at a position."""


def propose_images(
    parts: StoreParts,
    wanted: Sequence[int],
    pixels: Pixels,
    proposer: Proposer,
    *,
    num_threads: int,
    most_s: float | None = None,
    skip: Callable[[int, str], None] | None = None,
) -> bool:
    """Find the proposals of images that are not done yet, and keep them in parts of a store.

    However it ends, what is done is kept. Progress goes to stderr.

    Args:
        parts: takes the proposals.
        wanted: positions of the images.
        pixels: of these images.
        proposer: the method.
        num_threads: images that are processed at the same time.
        most_s: stop after about this time; None goes on to the end.
        skip: hears the position of an image that cannot be read, and why; None makes it an error.

    Returns:
        Whether all are done.

    Raises:
        UserError: an image cannot be read, or the method does not return proposals.
        KeyboardInterrupt: after Ctrl-C, once the images in work are done.
    """
    missing = parts.missing(wanted)

    def look(image: int) -> tuple[int, Proposals | str, float]:
        try:
            array = pixels(image)
        except UserError as error:
            if skip is None:
                raise
            return image, str(error), 0.0
        start = time.perf_counter()
        if isinstance(proposer, NamedProposer):
            found = proposer.propose_named(array, parts.names[image])
        else:
            found = proposer(array)
        seconds = time.perf_counter() - start
        if not isinstance(found, Proposals):
            raise UserError(
                "a method of proposals must return detkit.proposals.proposals.Proposals, "
                f"not {type(found).__name__}"
            )
        return image, found, seconds

    with ProgressLine("proposals", len(missing)) as progress:
        try:
            for done, (image, found, seconds) in enumerate(map_threads(look, missing, num_threads), start=1):
                if isinstance(found, Proposals):
                    parts.add(image, found, seconds)
                elif skip is not None:
                    skip(image, found)
                progress(done)
                if most_s is not None and progress.seconds > most_s:
                    return done == len(missing)
        finally:
            parts.flush()
    return True
