"""Fingerprints of the inputs of a stage: of a dataset by what is trained on, of a model by its weights."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import nn

from detkit.data.datasets.source import FilePixels, Source
from detkit.runtime.cores import num_cores
from detkit.runtime.processes import from_main
from detkit.storage.content_keys import digests_of_files, digests_of_pixels, key_of

_DIGEST_BYTES = 16


def dataset_key(source: Source) -> str:
    """Return a text that differs where a dataset's images, labels or proposals do.

    Raises:
        UserError: an image cannot be read.
    """
    return from_main(lambda: _dataset_key(source))


def weights_key(model: nn.Module) -> str:
    """Return a text that differs where a model's parameters or buffers do."""
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name, value in model.state_dict().items():
        plain = value.detach().cpu().contiguous().view(-1)
        hasher.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        hasher.update(plain.view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _dataset_key(source: Source) -> str:
    truth, pixels = source.annotations, source.pixels
    images = range(truth.num_images)
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for array in (truth.boxes, truth.labels, truth.difficult, truth.crowd, truth.offsets):
        hasher.update(np.ascontiguousarray(array).data)
    if source.proposals is not None:
        for image in images:
            hasher.update(np.ascontiguousarray(source.proposals(image)).data)
    if isinstance(pixels, FilePixels):
        content = digests_of_files([pixels.paths[image] for image in images], num_cores())
    else:
        content = digests_of_pixels(pixels, images, num_cores())
    return key_of(hasher.hexdigest(), list(truth.classes), truth.box_format, content)
