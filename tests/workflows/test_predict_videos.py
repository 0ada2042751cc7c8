"""What a prediction makes of videos: records, drawings, crops, being stopped, and damage."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from detkit.__main__ import main
from detkit.data.images import decode_image
from detkit.data.videos import Video, VideoFile, opened
from detkit.errors import UserError
from detkit.inference.results import FORMATS, ResultFormat
from detkit.version import VERSION
from detkit.workflows import predict as workflow
from detkit.workflows.predict import predict
from tests.inference.bright import picture, predictor

COUNT = 12


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file, in whose place a detector of bright rectangles is used."""
    monkeypatch.setattr(workflow, "build_predictor", lambda *_, **__: predictor())
    file = tmp_path / "model.safetensors"
    about = {"detkit": VERSION, "classes": '["red"]', "category_ids": "[1]", "config": "", "license": "MIT"}
    save_file({"weight": np.zeros(1, np.float32)}, file, about)
    return file


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Return a video of a red rectangle that moves to the right by 4 pixels a frame."""
    file = tmp_path / "film.avi"
    with VideoFile(file, 10.0) as video:
        for number in range(COUNT):
            x = 4 * number
            video.add(picture(48, 96, (x, 16, x + 32, 40, 0, 220)), number / 10)
    return file


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]


def lefts(records: Any) -> list[float]:
    return [one["detections"][0]["box"][0] for one in records]


def test_each_frame_is_a_line_with_its_number_and_time(weights: Path, film: Path, tmp_path: Path) -> None:
    folder, records = predict(weights, film, out=tmp_path / "out")
    found = lines_of(folder)
    assert found == list(records)
    assert [(one["image"], one["frame"]) for one in found] == [(str(film), number) for number in range(COUNT)]
    np.testing.assert_allclose([one["time_s"] for one in found], np.arange(COUNT) / 10, atol=1e-3)
    np.testing.assert_allclose(lefts(found), 4 * np.arange(COUNT), atol=2)
    assert (found[0]["width"], found[0]["height"]) == (96, 48)


def test_every_fifth_frame_drawn_and_cut_out(weights: Path, film: Path, tmp_path: Path) -> None:
    folder, records = predict(weights, film, out=tmp_path / "out", every=5, draw=True, crops=True)
    assert [one["frame"] for one in records] == [0, 5, 10]
    with opened(Video.of_file(folder / "drawn" / "film.mp4", "")) as video:
        drawn = list(video.frames())
        assert video.fps == 2
    assert len(drawn) == 3
    crops = sorted(str(file.relative_to(folder)) for file in folder.rglob("crops/**/*.jpg"))
    assert crops == [f"crops/red/film/frame_0000{number}_1.jpg" for number in ("00", "05", "10")]
    assert decode_image(folder / crops[2])[..., 0].mean() > 180
    assert decode_image(folder / crops[2]).shape[0] in range(23, 28)


def test_images_and_videos_of_a_folder_and_a_list(
    weights: Path,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    film.rename(photos / "film.avi")
    Image.fromarray(picture(40, 60, (5, 5, 25, 20, 1, 200))).save(photos / "a.png")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos}\n\n{photos}/*.png\n"))
    out = tmp_path / "out"
    arguments = ["predict", str(weights), "-", "--out", str(out), "--class", "red", "--class", "green"]
    assert main([*arguments, "--json", str(tmp_path / "all.json")]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == f"{photos}/a.png: 1 green"
    assert said[1] == f"{photos}/film.avi: 12 frames, 12 with detections: 12 red"
    assert said[2].startswith("1 image, 12 frames (")
    everything = json.loads((tmp_path / "all.json").read_text())
    assert [one["frame"] for one in everything] == [None, *range(COUNT)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(arguments) == 2
    assert "standard input names no files" in capfd.readouterr().err


@pytest.mark.parametrize("result_format", FORMATS)
def test_after_ctrl_c_the_same_call_does_the_rest(
    weights: Path, film: Path, tmp_path: Path, result_format: ResultFormat
) -> None:
    settings: dict[str, Any] = {"format": result_format, "draw": True}
    whole = predict(weights, film, out=tmp_path / "whole", **settings)

    def stop(done: int, total: int) -> None:
        assert total == COUNT
        if done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match="the results of 5 frames are in"):
        predict(weights, film, out=out, on_image=stop, **settings)
    with opened(Video.of_file(out / "drawn" / "film.mp4", "")) as video:
        assert len(list(video.frames())) == 5
    seen: list[int] = []
    records = predict(weights, film, out=out, on_image=lambda done, _: seen.append(done), **settings)[1]
    assert seen == list(range(6, COUNT + 1))
    assert list(records) == list(whole[1])
    names = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert names == {str(f.relative_to(whole[0])) for f in whole[0].rglob("*") if f.is_file()}
    for name in names - {".records.part", ".lock"}:
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes() or name.endswith(".mp4"), name
    with opened(Video.of_file(out / "drawn" / "film.mp4", "")) as video:
        assert len(list(video.frames())) == COUNT


def test_a_truncated_video_keeps_its_frames_and_is_named(
    weights: Path, film: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = film.read_bytes()
    film.write_bytes(content[: content.index(b"movi") + (len(content) - content.index(b"movi")) // 2])
    (tmp_path / "fake.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    arguments = ["predict", str(weights), str(tmp_path / "fake.mp4"), str(film), "--out", str(out), "--draw"]
    assert main(arguments) == 1
    said = capfd.readouterr()
    assert f"warning: {film}: the video is truncated or damaged" in said.err
    assert "2 sources skipped (skipped.json lists them)" in said.out
    found = lines_of(out)
    kept = [one["frame"] for one in found if one["error"] is None]
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < COUNT
    assert [one["image"] for one in json.loads((out / "skipped.json").read_text())] == [
        str(tmp_path / "fake.mp4"),
        str(film),
    ]
    film.write_bytes(content)  # other content: all of it is looked at
    assert main(arguments) == 1
    assert [one["frame"] for one in lines_of(out) if one["error"] is None] == list(range(COUNT))
    with pytest.raises(UserError, match="not a video"):
        predict(weights, tmp_path / "fake.mp4", strict=True, out=tmp_path / "strict")


def test_frames_of_changing_size_have_each_their_own(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = [picture(40, 60, (5, 5, 25, 20, 1, 200)), picture(30, 80, (5, 5, 25, 20, 1, 200))]

    class Capture:
        def __init__(self) -> None:
            self.left = [*pixels]

        def isOpened(self) -> bool:
            return True

        def get(self, key: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, Any]:
            return (True, self.left.pop(0)[..., ::-1].copy()) if self.left else (False, None)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Capture())
    folder, records = predict(weights, "camera:0", out=tmp_path / "out", draw=True)
    # The reader may have passed the first over.
    assert [(one["width"], one["height"]) for one in records][-1] == (80, 30)
    assert {one["image"] for one in records} == {"camera:0"}
    assert (folder / "drawn" / "camera_0.mp4").exists()
    with pytest.raises(UserError, match="not empty"):
        predict(weights, "camera:0", out=tmp_path / "out", draw=True)


def test_what_is_asked_for_is_checked_first(weights: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="every: at least 1; got 0"):
        predict(weights, film, out=out, every=0)
    with pytest.raises(UserError, match=r"format: one of json, jsonl, .*; got 'xml'"):
        predict(weights, film, out=out, format="xml")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no class 'rad'; did you mean \"red\"\? there are red, green, blue"):
        predict(weights, film, out=out, classes=["rad"])
    assert not out.exists()
    assert main(["predict", str(weights), "ftp://host/a.mp4"]) == 2


def test_only_some_classes_and_their_crops(weights: Path, tmp_path: Path) -> None:
    two = picture(40, 60, (5, 6, 25, 20, 0, 200), (30, 8, 50, 30, 2, 250))
    for name in ("a/../../1.png".replace("/", "_"), "2.png"):
        Image.fromarray(two).save(tmp_path / name)
    images = [tmp_path / "2.png", tmp_path / "a_.._.._1.png"]
    folder, records = predict(weights, images, out=tmp_path / "out", classes=["blue"], crops=True)
    assert [[one["label"] for one in record["detections"]] for record in records] == [["blue"], ["blue"]]
    assert records.floors == "0.50 for every class"
    crops = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.jpg"))
    assert crops == ["crops/blue/2_1.jpg", "crops/blue/a_.._.._1_1.jpg"]
    crop = decode_image(folder / crops[0])
    assert crop.shape == (22, 20, 3)
    np.testing.assert_allclose(crop.mean((0, 1)), [0, 0, 250], atol=8)
