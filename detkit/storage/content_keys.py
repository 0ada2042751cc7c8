"""Content keys: where computed proposals are cached, and what tells them apart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

_blake2b = partial(hashlib.blake2b, digest_size=16)


def cache_folder() -> Path:
    """Return the folder for what can be made again: $DETKIT_CACHE, or ~/.cache/detkit."""
    named = os.environ.get("DETKIT_CACHE", "")
    return Path(named).absolute() if named else Path.home() / ".cache" / "detkit"


def key_of(*parts: Any) -> str:
    """Return a short text that is different for different values of texts, numbers, lists and dicts.

    Example:
        >>> key_of("edge_boxes", {"a": 1, "b": 2}) == key_of("edge_boxes", {"b": 2, "a": 1})
        True
        >>> key_of("edge_boxes", ["1"]) == key_of("edge_boxes", [1])
        False
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return _blake2b(text.encode("utf-8", "surrogateescape")).hexdigest()


def file_stamp(file: str | Path) -> str:
    """Return a file's size and time, which change when it is replaced; empty where it cannot be looked at."""
    try:
        about = os.stat(file)  # noqa: PTH116 (for hundreds of thousands)
    except (OSError, ValueError):
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"


def digests_of_files(files: Sequence[str], num_threads: int) -> list[str]:
    """Return a digest of the content of each file.

    Example:
        >>> first, second = digests_of_files([__file__, __file__], num_threads=2)
        >>> first == second
        True

    Raises:
        UserError: a file is missing or cannot be read.
    """
    with ThreadPoolExecutor(num_threads) as pool:  # reading and hashing both release the interpreter lock
        return list(pool.map(_digest_of_file, files))


def digests_of_pixels(
    pixels: Callable[[int], NDArray[np.uint8]], images: Iterable[int], num_threads: int
) -> list[str]:
    """Return a digest of the (H, W, 3) uint8 pixels of each image.

    Example:
        >>> wide, high = np.zeros((1, 2, 3), np.uint8), np.zeros((2, 1, 3), np.uint8)
        >>> len(set(digests_of_pixels([wide, high, wide].__getitem__, range(3), num_threads=1)))
        2
    """

    def digest(image: int) -> str:
        content = np.ascontiguousarray(pixels(image))
        hasher = _blake2b(str(content.shape).encode())
        hasher.update(content.data)
        return hasher.hexdigest()

    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(digest, images))


def _digest_of_file(file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            return hashlib.file_digest(stream, _blake2b).hexdigest()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
