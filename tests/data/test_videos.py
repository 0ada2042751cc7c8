"""Videos as files, cameras and streams, and what is called a video and is none."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.data import videos
from detkit.data.videos import Video, VideoFile, live_video, opened
from detkit.errors import UserError


def shade(number: int, height: int = 48, width: int = 64) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return grey pixels whose red says which frame they are."""
    pixels = np.full((height, width, 3), 60, np.uint8)
    pixels[..., 0] = 10 * (number % 25)
    return pixels


def film(file: Path, count: int = 20, fps: float = 10.0) -> Video:
    with VideoFile(file, fps) as video:
        for number in range(count):
            video.add(shade(number), number / fps)
    return Video.of_file(file, file.name)


def numbers_of(frames: Any) -> list[int]:
    return [round(float(frame.pixels[..., 0].mean()) / 10) for frame in frames]


@pytest.fixture
def clip(tmp_path: Path) -> Video:
    return film(tmp_path / "clip.mp4")


def test_frames_come_back_with_their_numbers_times_and_colours(clip: Video) -> None:
    with opened(clip) as video:
        assert (video.fps, video.num_frames) == (10.0, 20)
        frames = list(video.frames())
    assert [frame.number for frame in frames] == numbers_of(frames) == list(range(20))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / 10, atol=1e-3)
    assert frames[3].pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(frames[15].pixels.mean((0, 1)), [150, 60, 60], atol=4)


def test_every_third_frame(clip: Video) -> None:
    with opened(clip) as video:
        frames = list(video.frames(3))
    assert [frame.number for frame in frames] == numbers_of(frames) == [0, 3, 6, 9, 12, 15, 18]
    assert frames[2].time_s == pytest.approx(0.6, abs=1e-3)


def test_a_video_is_as_long_as_what_it_shows(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "a.mp4", 10.0) as file:
        for number, time_s in enumerate((0.0, 0.5, 0.6, 0.6, 1e9)):
            file.add(shade(number) if number != 1 else shade(1, 24, 32), time_s)
    with opened(Video.of_file(tmp_path / "a.mp4", "a")) as video:
        shown = numbers_of(video.frames())
    # Until 0.5 s the first, then one each; a gap of years is one of 10 s; all have the size of the first.
    assert shown == [0] * 5 + [1] + [2] + [3] * 100 + [4]
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_of_no_frames_is_no_file(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "a.mp4", 10.0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_said(tmp_path: Path, clip: Video, capfd: pytest.CaptureFixture[str]) -> None:
    content = Path(str(clip.address)).read_bytes()
    (tmp_path / "secret").write_text("secret")
    cases = {
        "gone.mp4": (None, "there is no such file"),
        "empty.mp4": (b"", "the file is empty"),
        "text.mp4": (b"no video", "not a video that can be read"),
        "list.mp4": (b"#EXTM3U\n#EXTINF:1,\nhttp://host/a.ts\n", "not a video that can be read"),
        "parts.mp4": (b"ffconcat version 1.0\nfile secret\n", "not a video that can be read"),
        "cut.mp4": (content[: len(content) // 2], "not a video that can be read"),
        "head.mp4": (content[:40], "not a video that can be read"),
        "junk.avi": (b"RIFF\0\0\0\0AVI " + bytes(500), "not a video that can be read"),
    }
    for name, (data, text) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with (
            pytest.raises(UserError, match=f"{name}: .*{text}"),
            opened(Video.of_file(tmp_path / name, name)) as video,
        ):
            list(video.frames())
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="no such file"), opened(Video.of_file(tmp_path / "pipe.mp4", "")):
        pass
    assert capfd.readouterr().err == ""  # FFmpeg says nothing of its own


def test_a_truncated_video_gives_its_frames_and_then_says_so(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.avi", 60)
    file = Path(str(clip.address))
    content = file.read_bytes()
    begin = content.index(b"movi")
    file.write_bytes(content[: begin + (len(content) - begin) // 2])
    numbers: list[int] = []
    with opened(clip) as video, pytest.raises(UserError, match=r"truncated or damaged: \d+ of its 60 frames"):
        numbers.extend(frame.number for frame in video.frames())
    assert numbers == list(range(len(numbers)))
    assert 10 < len(numbers) < 50


def test_a_huge_frame_is_refused_before_it_is_read(clip: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.annotations.image_files.MOST_PIXELS", 3000)
    with pytest.raises(UserError, match=r"clip\.mp4: the image is too large"), opened(clip):
        pass


def test_no_option_of_ours_stays_in_the_environment(clip: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "mine;1")
    with opened(clip):
        assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "mine;1"
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    with opened(clip):
        assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


@pytest.mark.parametrize(
    ("source", "name", "shown"),
    [
        ("0", "camera_0", "camera:0"),
        ("camera:12", "camera_12", "camera:12"),
        ("rtsp://me:secret@door:554/a/b?key=1", "door%u002Fa%u002Fb", "rtsp://door:554/a/b"),
        ("HTTP://host/a.m3u8", "host%u002Fa.m3u8", "http://host/a.m3u8"),
    ],
)
def test_cameras_and_streams_are_called_without_passwords(source: str, name: str, shown: str) -> None:
    video = live_video(source)
    assert video is not None
    assert (video.name, video.shown, video.is_live) == (name, shown, True)


@pytest.mark.parametrize(
    "source", ["photos", "1234", "a/0", "file:///etc/passwd", "concat:a|b", "rtsp:", "http://"]
)
def test_other_names_are_no_live_videos(source: str) -> None:
    assert live_video(source) is None


def test_a_file_of_that_name_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(b"")
    assert live_video("0") is None


class Camera:
    """A camera of five frames, which says when the reader wants one more than was allowed."""

    def __init__(self, allowed: threading.Semaphore) -> None:
        self.allowed, self.count, self.released = allowed, 0, False

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48}.get(key, 0.0)

    def read(self) -> tuple[bool, Any]:
        self.allowed.acquire()
        self.count += 1
        return (True, shade(self.count - 1)[..., ::-1].copy()) if self.count <= 5 else (False, None)

    def release(self) -> None:
        self.released = True


def test_of_a_live_video_the_newest_frame_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = threading.Semaphore(1)
    camera = Camera(allowed)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    seen: list[int] = []

    def frames(video: Any) -> Iterator[Any]:
        for frame in video.frames():
            seen.append(frame.number)
            yield frame

    with opened(Video(0, "camera:0", "camera_0", is_live=True)) as video:
        assert (video.fps, video.num_frames) == (25.0, None)
        stream = frames(video)
        first = next(stream)
        assert numbers_of([first]) == [0]
        allowed.release(4)  # four more come while the first is looked at
        while camera.count < 5:
            pass
        assert next(stream).number in (3, 4)
        allowed.release(2)
        rest = [frame.number for frame in stream]
    assert rest in ([], [4])
    assert camera.released
    assert not any(thread.name == "detkit-video" for thread in threading.enumerate())


def test_frames_of_a_live_video_are_so_far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(threading.Semaphore(100))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    with opened(Video(0, "camera:0", "camera_0", is_live=True)) as video:
        numbers = [frame.number for frame in video.frames(3)]
    assert len(numbers) <= 2
    assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(numbers))


def test_a_camera_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UserError, match="camera:99: no such camera, or it is in use"),
        opened(Video(99, "camera:99", "camera_99", is_live=True)),
    ):
        pass
    assert videos.STREAMS == ("rtsp", "rtsps", "rtmp", "http", "https")
