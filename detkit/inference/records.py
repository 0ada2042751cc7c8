"""Records of what was found in images, kept in a file as they come, so that a stopped prediction goes on."""

from __future__ import annotations

import json
import os
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, overload

JOURNAL = ".records.part"
"""Name of the file, that of a half of a file: other work may have a folder that holds nothing else."""

_KEYS = {"image", "width", "height", "detections", "error", "frame", "time_s"}
_END = (1 << 32) - 1  # behind all frames: what is said of a whole source


def _head(work: str) -> bytes:
    return json.dumps(work).encode() + b"\n"


class Records(Sequence[dict[str, Any]]):
    """Records of images and of frames of videos, in the order of these, of which one is in memory at a time.

    Their file stays, also of a process that is killed, and the next one of the same work has its records, but
    for images that have changed since or could not be read. After `discard` it goes with the records.

    Args:
        folder: where the file is, a folder of this process alone; None holds no records.
        work: tells apart what is done, and with what.
        stamps: a text or number for each image or video that changes when it is replaced.
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
        self.skipped: list[
            dict[str, Any]
        ] = []  # image and error of each that could not be read, as they came
        self._stamps = stamps
        self._done = bytearray(len(stamps))
        self._keys, self._starts = array("q"), array("q")  # place and frame of each record, in order
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
            if place < 0 or stamp != self._stamps[place]:
                return
            if record is None:
                self._done[place] = 1
            elif record.keys() == _KEYS and record["error"] is None:
                self._note(place, record, start)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            return  # not a record of ours; its image is looked at once more

    def _note(self, place: int, record: dict[str, Any], start: int) -> None:
        frame = record["frame"]
        if frame is None:
            self._done[place] = 1
        key = _key(place, _END if record["error"] is not None else frame or 0)
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            self._starts[at] = start
        else:
            self._keys.insert(at, key)
            self._starts.insert(at, start)

    def missing(self) -> list[int]:
        """Return the places of the images that have no record, and of the videos that were not ended."""
        return [place for place, done in enumerate(self._done) if not done]

    def add(self, place: int, record: dict[str, Any]) -> None:
        """Keep the record of the image at a place, or of a frame of the video there."""
        self._note(place, record, self._write(place, record))
        if record["error"] is not None:
            self.skipped.append({"image": record["image"], "error": record["error"]})

    def end(self, place: int) -> None:
        """Keep that the video at a place has no further frames."""
        self._write(place, None)
        self._done[place] = 1

    def _write(self, place: int, record: dict[str, Any] | None) -> int:
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps([place, self._stamps[place], record]).encode() + b"\n")
        self._file.flush()
        return start

    def of_frame(self, place: int, frame: int) -> dict[str, Any] | None:
        """Return the record of a frame of the video at a place, if there is one."""
        at = bisect_left(self._keys, key := _key(place, frame))
        return self[at] if at < len(self._keys) and self._keys[at] == key else None

    @property
    def places(self) -> Sequence[int]:
        """The place of each record's image or video."""
        return _Places(self._keys)

    def discard(self) -> None:
        """Let the file go when the records do: there is nothing to go on with."""
        with suppress(OSError):  # Windows does not remove an open file
            self._path.unlink()

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        start = self._starts[place]
        self._file.seek(start)
        kept: dict[str, Any] = json.loads(self._file.readline())[2]
        return kept


class _Places(Sequence[int]):
    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: Any) -> Any:
        return self._keys[index] >> 32


def _key(place: int, frame: int) -> int:
    return place << 32 | frame
