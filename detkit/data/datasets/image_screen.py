"""Unreadable images of a dataset, found before a training: by their headers or an earlier `detkit check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from detkit.annotations.dataset import AnnotationSet, select_images
from detkit.annotations.image_files import image_paths, image_size
from detkit.errors import UserError
from detkit.runtime.cores import num_cores
from detkit.runtime.progress import ProgressLine
from detkit.runtime.thread_map import map_threads
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import cache_folder, file_stamp, key_of
from detkit.storage.json_text import json_bytes
from detkit.storage.regular_files import read_bytes

_SHOWN = 10


@dataclass
class ImageScreen:
    """Leaves out images that cannot be read, up to a number.

    Attributes:
        most: how many may be left out.
        skipped: image and error of each that is; those that are there at the start are left out anyway, as by
            the training that is resumed, and count.
        decide: computes a value, the same in all processes: `from_main`, where there are several.
    """

    most: int
    skipped: list[dict[str, str]] = field(default_factory=list)
    decide: Callable[[Callable[[], dict[str, str]]], dict[str, str]] = lambda compute: compute()

    def __call__(self, truth: AnnotationSet) -> AnnotationSet:
        """Return the set without its unreadable images.

        Raises:
            UserError: there are more than may be left out; it names them.
        """
        paths = image_paths(truth)
        before = {item["image"] for item in self.skipped}
        faults = self.decide(lambda: unreadable_images(path for path in paths if path not in before))
        self.skipped += [{"image": path, "error": error} for path, error in faults.items()]
        if faults and len(self.skipped) > self.most:
            raise UserError(*self._refusal())
        out = before | faults.keys()
        kept = np.flatnonzero([path not in out for path in paths])
        return truth if len(kept) == len(paths) else select_images(truth, kept)

    def _refusal(self) -> list[str]:
        count = len(self.skipped)
        lines = [f"  {item['error']}" for item in self.skipped[:_SHOWN]]
        more = [f"  ... and {count - _SHOWN:,} more"] if count > _SHOWN else []
        allowed = f", more than --skip-bad {self.most}" if self.most else ""
        head = f"{count:,} images cannot be read{allowed}:"
        return [head, *lines, *more, f"--skip-bad {count} trains without these"]


def unreadable_images(paths: Iterable[str]) -> dict[str, str]:
    """Return why image files cannot be read, by their paths, of those that cannot.

    What is known of a file from the last time it was decoded is taken where it has not changed; of others the
    header is read, which takes a fraction of a millisecond and does not see what is wrong behind it.
    """
    unique = list(dict.fromkeys(paths))
    known = _Known(unique)

    def fault(path: str) -> str:
        seen = known.fault(path)
        if seen is not None:
            return seen
        try:
            image_size(Path(path))
        except UserError as error:
            return str(error)
        return ""

    faults = {}
    with ProgressLine("headers", len(unique)) as progress:
        for done, (path, error) in enumerate(
            zip(unique, map_threads(fault, unique, num_cores()), strict=True), start=1
        ):
            if error:
                faults[path] = error
            progress(done)
    return faults


def remember_decoded(faults: Mapping[str, str]) -> None:
    """Keep for later trainings what was wrong with files that were decoded: nothing where it is empty."""
    known = _Known(faults)
    for path, fault in faults.items():
        known.note(path, fault)
    known.write()


class _Known:
    """What decoding found, a file in the cache for each folder of images: by name, stamp and fault."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders: dict[str, dict[str, Any]] = {}
        for path in paths:
            folder = os.path.dirname(path)  # noqa: PTH120 (for hundreds of thousands)
            if folder not in self._folders:
                self._folders[folder] = self._read(folder)

    def fault(self, path: str) -> str | None:
        """Return the fault of a file that has not changed, empty for none; None where it is not known."""
        folder, name = os.path.split(path)
        kept = self._folders[folder].get(name)
        if isinstance(kept, list) and len(kept) == 2 and kept[0] and kept[0] == file_stamp(path):
            return str(kept[1])
        return None

    def note(self, path: str, fault: str) -> None:
        """Take what was found in a file."""
        folder, name = os.path.split(path)
        self._folders[folder][name] = [file_stamp(path), fault]

    def write(self) -> None:
        """Keep all of it."""
        for folder, kept in self._folders.items():
            with suppress(UserError):  # a cache that cannot be written is done without
                write_atomically(_place(folder), json_bytes(kept), sync=False)

    @staticmethod
    def _read(folder: str) -> dict[str, Any]:
        try:
            kept = orjson.loads(read_bytes(_place(folder)))
        except (UserError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}


def _place(folder: str) -> Path:
    return cache_folder() / "images" / f"{key_of(os.path.abspath(folder))}.json"  # noqa: PTH100
