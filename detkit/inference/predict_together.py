"""Predictions that several processes make, in the order of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import Any

import torch.distributed as dist

from detkit.inference.predictor import Prediction, Predictor
from detkit.runtime.processes import rank, world_size

_ROUND = 64  # images of a process between two meetings


def predict_together(predictor: Predictor, files: Sequence[Any], **settings: Any) -> Iterator[Prediction]:
    """Return what is in each image, in order, in process 0; for the others nothing, but they work.

    Process r takes images r, r + world size, and so on. All have to iterate to the end.

    Args:
        predictor: in each process, on its own device.
        files: all images, the same in each process.
        settings: see `Predictor.stream`.

    Raises:
        UserError: a setting is wrong; what is wrong with an image is reported when it comes.
    """
    stream = predictor.stream(files[rank() :: world_size()], **settings)
    return stream if world_size() == 1 else _in_turn(stream, -(-len(files) // world_size()))


def _in_turn(stream: Iterator[Prediction], most: int) -> Iterator[Prediction]:
    for _ in range(-(-most // _ROUND)):
        parts: list[list[Prediction]] | None = [[]] * world_size() if rank() == 0 else None
        dist.gather_object(list(islice(stream, _ROUND)), parts, dst=0)
        for found in chain.from_iterable(zip_longest(*(parts or ()))):
            if found is not None:
                yield found
