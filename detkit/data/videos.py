"""Videos by OpenCV: the frames of a file, a camera or a stream, and a video made of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from threading import Condition, Thread
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import cv2

from detkit.annotations.image_files import require_pixels
from detkit.data.images import Pixels
from detkit.errors import UserError, cut
from detkit.names import file_name
from detkit.storage.atomic import durable_file
from detkit.storage.regular_files import is_file

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
"""Extensions of videos, compared in lower case."""

STREAMS = ("rtsp", "rtsps", "rtmp", "http", "https")
"""Addresses that are opened, where the user names one."""

_CAMERA = re.compile(r"(?:camera:)?(\d{1,3})")
_HEADS = re.compile(
    rb"....(?:ftyp|moov|mdat|wide|free|skip|pnot)|RIFF....AVI |\x1aE\xdf\xa3|\x00\x00\x01[\xb3\xba]"
    rb"|0&\xb2u|FLV|OggS|G",
    re.DOTALL,
)
_EXACT = (".mp4", ".mov", ".m4v", ".avi")  # whose header has the number of frames, where others estimate it
_USUAL_FPS, _MOST_FPS = 25.0, 1000.0
_WAIT_MS = 10_000
_LONGEST_GAP_S = 10.0
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# A list of parts, which FFmpeg takes for a video, would have it open other files or addresses.
_FROM_FILE = "protocol_whitelist;file"
_FROM_NETWORK = "protocol_whitelist;http,https,tcp,tls,udp,rtp,rtsp,rtmp,crypto|rtsp_flags;prefer_tcp"


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: from 0.
        time_s: when it is shown, or came from a camera or a stream, in seconds from the beginning.
        pixels: (H, W, 3) uint8 RGB, turned as the file says.
    """

    number: int
    time_s: float
    pixels: Pixels


@dataclass(frozen=True)
class Video:
    """A source of frames.

    Attributes:
        address: path of a file, number of a camera, or address of a stream.
        shown: the address as records and messages have it, without a password.
        name: what files are called after.
        is_live: whether frames come when they come, and are gone: of a camera or a stream.
    """

    address: str | int
    shown: str
    name: str
    is_live: bool

    @staticmethod
    def of_file(path: Path, name: str) -> Video:
        """Return the video of a file."""
        return Video(str(path), str(path), name, is_live=False)


def live_video(source: str) -> Video | None:
    """Return the camera (`0`, `camera:0`) or stream (`rtsp://...`) that a text names, if it is no file.

    Example:
        >>> live_video("camera:1").name, live_video("rtsp://me:secret@door/hall?token=1").shown
        ('camera_1', 'rtsp://door/hall')
        >>> live_video("photos")
    """
    if is_file(Path(source)):
        return None
    if camera := _CAMERA.fullmatch(source):
        return Video(int(camera[1]), f"camera:{camera[1]}", f"camera_{camera[1]}", is_live=True)
    with suppress(ValueError):
        parts = urlsplit(source)
        if parts.scheme.lower() in STREAMS and parts.hostname:
            port = f":{parts.port}" if parts.port else ""
            shown = f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
            return Video(source, shown, file_name(f"{parts.hostname}{parts.path}"), is_live=True)
    return None


class OpenVideo:
    """A video that is being read.

    Attributes:
        fps: frames per second, as the video says; 25 where it says nothing.
        num_frames: how many frames it has, as far as is known; None of a camera or a stream.
    """

    def __init__(self, video: Video, capture: Any) -> None:
        self._video, self._capture = video, capture
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 0 < fps <= _MOST_FPS else _USUAL_FPS
        self.num_frames = int(count) if 0 < count < 1 << 31 and not video.is_live else None

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Yield frame 0 and every so many-th after it; of a live video the newest, at least so far apart.

        Raises:
            UserError: it has no frame, or ends before it should.
        """
        number, due = -1, 0
        try:
            for number, time_s, bgr in self._newest() if self._video.is_live else self._all(every):
                if number >= due:
                    due = number + every
                    yield Frame(number, time_s, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        except cv2.error as error:
            why = f"frame {number + 1} cannot be read ({error.err})"
            raise UserError(f"{self._video.shown}: the video is damaged: {why}") from None
        self._require_end(number + 1)

    def _all(self, every: int) -> Iterator[tuple[int, float, Any]]:
        number = 0
        while self._capture.grab():
            time_s = max(0.0, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            done, bgr = self._capture.retrieve() if number % every == 0 else (True, None)
            if not done:
                return
            yield number, time_s, bgr
            number += 1

    def _newest(self) -> Iterator[tuple[int, float, Any]]:
        reader = _Reader(self._capture)
        reader.start()
        try:
            while (newest := reader.next()) is not None:
                yield newest
        finally:
            reader.stop()

    def _require_end(self, count: int) -> None:
        if not count:
            raise UserError(f"{self._video.shown}: the video has no frame that can be read")
        is_exact = PurePath(str(self._video.address)).suffix.lower() in _EXACT
        if self.num_frames and is_exact and count < self.num_frames - max(2, self.num_frames // 50):
            raise UserError(
                f"{self._video.shown}: the video is truncated or damaged: {count:,} of its "
                f"{self.num_frames:,} frames can be read"
            )


class _Reader(Thread):
    """Reads a live video on and on and holds its newest frame: a slower reader skips, and is not late."""

    def __init__(self, capture: Any) -> None:
        super().__init__(name="detkit-video", daemon=True)
        self._capture, self._changed = capture, Condition()
        self._newest: tuple[int, float, Any] | None = None
        self._ended = self._stopping = False

    def run(self) -> None:
        """Read until the video ends."""
        begin, number = monotonic(), 0
        while not self._stopping:
            try:
                done, bgr = self._capture.read()
            except cv2.error:  # as of a camera that is pulled out
                done, bgr = False, None
            with self._changed:
                self._ended = not done
                if done:
                    self._newest = number, monotonic() - begin, bgr
                self._changed.notify()
            if not done:
                return
            number += 1

    def next(self) -> tuple[int, float, Any] | None:
        """Return a frame that was not returned before, when there is one; None after the end."""
        with self._changed:
            while self._newest is None and not self._ended:
                self._changed.wait(0.1)  # a wait without end hears no Ctrl-C on Windows
            newest, self._newest = self._newest, None
            return newest

    def stop(self) -> None:
        """Stop reading, and wait until that is so."""
        self._stopping = True
        self.join()


@contextmanager
def opened(video: Video) -> Iterator[OpenVideo]:
    """Open a video.

    Raises:
        UserError: there is none, or it is none that can be read.
    """
    if not video.is_live:
        _require_video(Path(str(video.address)))
    with _silent():
        capture = _capture(video)
    try:
        if not capture.isOpened():
            why = "no such camera, or it is in use" if isinstance(video.address, int) else "cannot be opened"
            raise UserError(f"{video.shown}: {why if video.is_live else 'not a video that can be read'}")
        width, height = (
            int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        try:
            require_pixels(width, height)
        except UserError as error:
            raise UserError(f"{video.shown}: {error}") from None
        yield OpenVideo(video, capture)
    finally:
        capture.release()


def _require_video(path: Path) -> None:
    if not is_file(path):
        raise UserError(f"{cut(str(path), 300)}: there is no such file")
    try:
        str(path).encode()
        with path.open("rb") as stream:
            head = stream.read(16)
    except UnicodeEncodeError:
        raise UserError(f"{path}: a video's name must be UTF-8; rename it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise UserError(f"{path}: the file is empty")
    if not _HEADS.match(head):
        raise UserError(f"{path}: not a video that can be read (it begins with {head[:4]!r})")


@contextmanager
def _silent() -> Iterator[None]:
    """Keep OpenCV and FFmpeg, who read their settings when they are first used, from saying what we say."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _capture(video: Video) -> Any:
    if isinstance(video.address, int):
        return cv2.VideoCapture(video.address)
    asked = os.environ.get(_OPTIONS)
    os.environ[_OPTIONS] = (asked or _FROM_NETWORK) if video.is_live else _FROM_FILE
    waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _WAIT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _WAIT_MS]
    address = video.address if video.is_live else str(Path(video.address).absolute())
    try:
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, waits if video.is_live else [])
    except cv2.error as error:
        raise UserError(f"{video.shown}: not a video that can be read ({error.err})") from None
    finally:
        if asked is None:
            del os.environ[_OPTIONS]
        else:
            os.environ[_OPTIONS] = asked


class VideoFile:
    """An .mp4 (MPEG-4 part 2) made of frames; used as a `with`, and there at its end, however that comes.

    A frame is repeated until the next one comes, so that the video is as long as what it shows.

    Args:
        file: what to write.
        fps: its frames per second.
    """

    def __init__(self, file: Path, fps: float) -> None:
        self._file, self._fps = file, fps
        self._part = file.with_name(f".{file.stem}.part{file.suffix}")
        self._writer: Any = None
        self._size, self._count = (0, 0), 0
        self._last: Pixels | None = None

    def add(self, pixels: Pixels, time_s: float) -> None:
        """Append a frame; one of another size than the first is resized.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            time_s: when it is shown.

        Raises:
            UserError: the file cannot be written.
        """
        if self._last is not None:
            wanted = min(round(time_s * self._fps), self._count + int(_LONGEST_GAP_S * self._fps))
            self._write(self._last, max(1, wanted - self._count))
        self._last = pixels

    def _write(self, pixels: Pixels, times: int) -> None:
        if self._writer is None:
            self._begin(pixels)
        if pixels.shape[1::-1] != self._size:
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        for _ in range(times):
            self._writer.write(bgr)
        self._count += times

    def _begin(self, pixels: Pixels) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._size = (pixels.shape[1], pixels.shape[0])
        mp4v = cv2.VideoWriter.fourcc(*"mp4v")
        with _silent():
            self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, mp4v, self._fps, self._size)
        if not self._writer.isOpened():
            raise UserError(f"{self._file}: the video cannot be written (frames of {self._size} pixels)")

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is None:
            return
        self._write(self._last, 1)
        self._writer.release()
        with durable_file(self._file, sync=False) as part:
            self._part.replace(part)
