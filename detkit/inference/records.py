"""Records of what was found in images, kept in a file as they come, so that a stopped prediction goes on."""

from __future__ import annotations

import json
import os
import weakref
from array import array
from bisect import insort
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, overload

JOURNAL = ".records.part"
"""Name of the file, that of a half of a file: other work may have a folder that holds nothing else."""

_KEYS = {"image", "width", "height", "detections", "error"}


def _head(work: str) -> bytes:
    return json.dumps(work).encode() + b"\n"


class Records(Sequence[dict[str, Any]]):
    """Records of images in the order of these, of which one at a time is in memory.

    Their file stays, also of a process that is killed, and the next one of the same work has its records, but
    for images that have changed since or could not be read. After `discard` it goes with the records.

    Args:
        folder: where the file is, a folder of this process alone; None holds no records.
        work: tells apart what is done, and with what.
        stamps: a text or number for each image that changes when it is replaced.
        left_out: files beside the images that are none.
        floors: the lowest scores that are reported, in words.
    """

    def __init__(
        self,
        folder: Path | None,
        work: str = "",
        stamps: Sequence[Any] = (),
        left_out: int = 0,
        floors: str = "",
    ) -> None:
        self.left_out, self.floors = left_out, floors
        self.places = array("q")  # of the images that have a record, in order
        self.skipped: list[
            dict[str, Any]
        ] = []  # image and error of each that could not be read, as they came
        self._stamps = stamps
        self._starts, self._ends = (array("q", bytes(8 * len(stamps))) for _ in range(2))
        if folder is None:
            return
        self._path = folder / JOURNAL
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._file: BinaryIO = os.fdopen(os.open(self._path, flags, 0o644), "r+b")
        weakref.finalize(self, self._file.close)
        self._read(_head(work))

    @staticmethod
    def are_of(work: str, folder: Path) -> bool:
        """Return whether a folder holds records of a work."""
        try:
            with (folder / JOURNAL).open("rb") as lines:
                return lines.readline() == _head(work)
        except OSError:
            return False

    def _read(self, head: bytes) -> None:
        """Take the records of the same work, and put the end of the file behind the last whole one."""
        with self._path.open("rb") as lines:
            if lines.readline() != head:
                self._file.truncate(0)
                self._file.write(head)
                self._file.flush()
                return
            end = len(head)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._take(line, end)
                end += len(line)
        self._file.truncate(end)

    def _take(self, line: bytes, start: int) -> None:
        try:
            place, stamp, record = json.loads(line)
            whole = place >= 0 and stamp == self._stamps[place] and record.keys() == _KEYS
            if whole and record["error"] is None:
                self._note(place, start, start + len(line))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return  # not a record of ours; its image is looked at once more

    def _note(self, place: int, start: int, end: int) -> None:
        if not self._ends[place]:
            insort(self.places, place)
        self._starts[place], self._ends[place] = start, end

    def missing(self) -> list[int]:
        """Return the places of the images that have no record."""
        return [place for place, end in enumerate(self._ends) if not end]

    def add(self, place: int, record: dict[str, Any]) -> None:
        """Keep the record of the image at a place."""
        line = json.dumps([place, self._stamps[place], record]).encode() + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        self._file.flush()
        self._note(place, start, start + len(line))
        if record["error"] is not None:
            self.skipped.append({"image": record["image"], "error": record["error"]})

    def discard(self) -> None:
        """Let the file go when the records do: there is nothing to go on with."""
        with suppress(OSError):  # Windows does not remove an open file
            self._path.unlink()

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        image = self.places[place]
        self._file.seek(self._starts[image])
        kept: dict[str, Any] = json.loads(self._file.read(self._ends[image] - self._starts[image]))[2]
        return kept
