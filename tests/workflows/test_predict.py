"""What a prediction makes of images that cannot be read, and of being stopped."""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from detkit.__main__ import main
from detkit.errors import UserError
from detkit.inference.records import JOURNAL
from detkit.inference.results import FORMATS, ResultFormat
from detkit.runs import predictions
from detkit.version import VERSION
from detkit.workflows import predict as workflow
from detkit.workflows.predict import predict
from tests.inference.bright import picture, predictor


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file, in whose place a detector of bright rectangles is used."""
    monkeypatch.setattr(workflow, "build_predictor", lambda *_, **__: predictor())
    file = tmp_path / "model.safetensors"
    about = {"detkit": VERSION, "classes": '["red"]', "category_ids": "[1]", "config": "", "license": "MIT"}
    save_file({"weight": np.zeros(1, np.float32)}, file, about)
    return file


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with four images of one rectangle each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        pixels = picture(40, 60, (5 + number, 5, 25, 20, number % 3, 200))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def spoil(folder: Path) -> list[str]:
    """Add files that cannot be read as images, and return their names."""
    content = (folder / "0.png").read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "text.jpg").write_text("no image")
    (folder / "two\nlines.jpg").write_text("no image")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(folder / "pipe.jpg")
    return ["cut.png", "empty.png", "gone.jpg", "loop.jpg", "pipe.jpg", "text.jpg", "two\nlines.jpg"]


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != JOURNAL)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("result_format", FORMATS)
def test_a_bad_file_costs_itself_alone(
    weights: Path,
    photos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    result_format: ResultFormat,
) -> None:
    arguments = ["predict", str(weights), str(photos), "--format", result_format, "--draw", "--json"]
    assert main([*arguments, str(tmp_path / "clean.json"), "--out", str(tmp_path / "clean")]) == 0
    bad = spoil(photos)
    capfd.readouterr()
    assert main([*arguments, str(tmp_path / "all.json"), "--out", str(tmp_path / "all")]) == 1
    said = capfd.readouterr()
    warned = said.err.splitlines()
    assert len(warned) == len(bad)
    assert all(line.startswith(f"warning: {photos}") and line.endswith("; skipped") for line in warned)
    assert r"two\u000alines.jpg: not an image" in warned[-1]
    assert said.out.splitlines()[-1].startswith("11 images, 7 of them skipped (skipped.json lists them)")
    clean, everything = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("clean", "all"))
    assert [one for one in everything if one["error"] is None] == clean
    skipped = [one for one in everything if one["error"] is not None]
    assert [Path(one["image"]).name for one in skipped] == bad
    for one in skipped:
        assert (one["width"], one["height"], one["detections"]) == (None, None, [])
        assert one["error"].startswith(one["image"])
    expected = contents(tmp_path / "clean")
    found = contents(tmp_path / "all")
    assert json.loads(found.pop("skipped.json")) == [
        {"image": one["image"], "error": one["error"]} for one in skipped
    ]
    # The records of skipped images; ids, which count all images.
    changed = {"json": ["json"], "jsonl": ["jsonl"], "coco": ["json"]}.get(result_format, [])
    for name in [f"detections.{ending}" for ending in changed] + ["images.json"] * (result_format == "coco"):
        expected.pop(name)
        found.pop(name)
    assert found == expected


def test_strict_stops_at_the_first_bad_file_and_keeps_what_was_found(
    weights: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (photos / "2.png").write_bytes(b"")
    out = tmp_path / "found"
    arguments = ["predict", str(weights), str(photos), "--out", str(out)]
    assert main([*arguments, "--strict"]) == 2
    assert capfd.readouterr().err == f"error: {photos / '2.png'}: the file is empty\n"
    assert [Path(one["image"]).name for one in json.loads((out / "detections.json").read_text())] == [
        "0.png",
        "1.png",
    ]
    (photos / "2.png").write_bytes((photos / "0.png").read_bytes())
    assert main([*arguments, "--strict"]) == 0
    assert len(json.loads((out / "detections.json").read_text())) == 4
    assert {file.name for file in out.iterdir()} == {"detections.json", JOURNAL}


@pytest.mark.parametrize("result_format", FORMATS)
def test_after_ctrl_c_the_folder_holds_what_was_found_and_the_same_call_does_the_rest(
    weights: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result_format: ResultFormat,
) -> None:
    settings: dict[str, Any] = {"format": result_format, "draw": True}
    whole = predict(weights, [str(photos)], out=tmp_path / "whole", **settings)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "found"
    with pytest.raises(KeyboardInterrupt, match=r"results of 2 of 4 images are in .*found"):
        predict(weights, [str(photos)], out=out, on_image=stop, **settings)
    left = contents(out)
    assert {name for name in left if name.startswith("drawn")} == {"drawn/0.jpg", "drawn/1.jpg"}
    if result_format in ("json", "coco") or result_format == "labelstudio":
        assert len(json.loads(left["detections.json"])) == 2
    elif result_format in ("csv", "jsonl"):
        lines = left[f"detections.{result_format}"].splitlines()
        assert len(lines) == 2 + (result_format == "csv")
    elif result_format == "cvat":
        assert left["detections.xml"].count(b"<image") == 2
    else:
        assert len([name for name in left if name.endswith((".xml", ".txt"))]) == 2
    with pytest.raises(UserError, match="not empty"):  # not the same prediction
        predict(weights, [str(photos)], out=out, **settings, threshold=0.1)
    looked_at = []
    monkeypatch.setattr(workflow, "predict_together", _noting(looked_at))
    records = predict(weights, [str(photos)], out=out, **settings)[1]
    assert [file.name for file in looked_at] == ["2.png", "3.png"]
    assert list(records) == list(whole[1])
    assert contents(out) == contents(tmp_path / "whole")


def _noting(looked_at: list[Path]) -> Any:
    together = workflow.predict_together

    def noted(own: Any, files: list[Path], **settings: Any) -> Any:
        looked_at.extend(files)
        return together(own, files, **settings)

    return noted


def test_where_nothing_was_found_yet_nothing_stays(weights: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match="empty"):
        predict(weights, [str(photos)], out=tmp_path / "new" / "found", strict=True)
    assert not (tmp_path / "new").exists()


def test_images_of_one_name_are_drawn_into_files_of_their_own(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "other").mkdir()
    (photos / "other" / "0.png").write_bytes((photos / "0.png").read_bytes())
    folder, _ = predict(weights, [str(photos)], out=tmp_path / "found", draw=True)
    (photos / "0.jpg").write_bytes((photos / "0.png").read_bytes())
    drawn = [f"drawn/{name}.jpg" for name in ("0", "1", "2", "3", "other/0")]
    assert sorted(name for name in contents(folder) if name.startswith("drawn")) == drawn
    folder, _ = predict(
        weights, [str(photos), str(photos / "other" / "0.png")], out=tmp_path / "b", draw=True
    )
    drawn[:1] = ["drawn/0.jpg.jpg", "drawn/0.png.jpg"]
    assert sorted(name for name in contents(folder) if name.startswith("drawn")) == drawn


@pytest.mark.parametrize("result_format", FORMATS)
def test_the_same_command_tries_once_more_what_was_skipped(
    weights: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result_format: ResultFormat,
) -> None:
    settings: dict[str, Any] = {"format": result_format, "draw": True}
    whole = predict(weights, [str(photos)], out=tmp_path / "whole", **settings)[1]
    content = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(b"")
    out = tmp_path / "found"
    assert len(predict(weights, [str(photos)], out=out, **settings)[1].skipped) == 1
    (photos / "2.png").write_bytes(content)
    looked_at: list[Path] = []
    monkeypatch.setattr(workflow, "predict_together", _noting(looked_at))
    records = predict(weights, [str(photos)], out=out, **settings)[1]
    assert [file.name for file in looked_at] == ["2.png"]
    assert list(records) == list(whole)
    assert contents(out) == contents(tmp_path / "whole")


def test_drawings_may_be_added_and_other_predictions_may_not(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    predict(weights, [str(photos)], out=out)
    before = contents(out)
    predict(weights, [str(photos)], out=out, draw=True)
    after = contents(out)
    assert sorted(after.keys() - before.keys()) == [f"drawn/{number}.jpg" for number in range(4)]
    assert before.items() <= after.items()
    with pytest.raises(UserError, match="not empty"):  # all is done
        predict(weights, [str(photos)], out=out, draw=True)
    (photos / "0.png").write_bytes(b"")
    for other in ({"threshold": 0.1}, {"format": "csv"}, {"tile": 30}):
        with pytest.raises(UserError, match="not empty"):
            predict(weights, [str(photos)], out=out, **other)
    weights.write_bytes(b"other weights")
    with pytest.raises(UserError, match="not empty"):
        predict(weights, [str(photos)], out=out)
    assert contents(out) == after


def test_a_stopped_drawing_loses_no_results(weights: Path, photos: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "found"
    predict(weights, [str(photos)], out=out)
    before = contents(out)
    with pytest.raises(KeyboardInterrupt):
        predict(weights, [str(photos)], out=out, draw=True, on_image=stop)
    assert contents(out).items() >= before.items()
    predict(weights, [str(photos)], out=out, draw=True)
    assert len(contents(out)) == 5


def test_files_that_are_no_images_are_counted_and_hidden_ones_are_not(
    weights: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (
        "a.HEIC",
        "sub/b.heic",
        "c.mpg2",
        "d",
        "._0.png",
        ".DS_Store",
        ".thumbs/e.png",
        ".thumbs/f.x",
    ):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((photos / "0.png").read_bytes())
    assert main(["predict", str(weights), str(photos), "--out", str(tmp_path / "found")]) == 0
    said = capfd.readouterr()
    assert said.err == "warning: left out 4 files that are no images: .heic 2, .mpg2 1, no extension 1\n"
    assert said.out.splitlines()[-1] == (
        "4 images, 4 other files left out, score threshold 0.50 for every class; "
        f"results are in {tmp_path}/found"
    )
    assert main(["predict", str(weights), str(photos / "d"), "--out", str(tmp_path / "named")]) == 0
    assert capfd.readouterr().err == ""
    assert main(["predict", str(weights), f"{photos}/*", "--out", str(tmp_path / "pattern")]) == 0
    assert "left out 3 files that are no images: " in capfd.readouterr().err
    for file in photos.glob("*.png"):
        file.unlink()
    assert main(["predict", str(weights), str(photos)]) == 2
    assert "no images in it; it holds .heic 2, .mpg2 1, no extension 1; looked for" in capfd.readouterr().err


def test_that_the_first_of_several_frames_is_taken_is_said_once(
    weights: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shades = [Image.new("RGB", (30, 20), (shade, 0, 0)) for shade in (10, 90, 200)]
    for name in ("a.gif", "b.tiff", "c.webp"):
        shades[0].save(photos / name, save_all=True, append_images=shades[1:])
    shades[0].save(photos / "0.gif")  # one frame
    predict(weights, [str(photos)], out=tmp_path / "found")
    [said] = capfd.readouterr().err.splitlines()
    assert said == f"warning: {photos / 'a.gif'}: has several frames or pages; of all such the first is taken"
    for name in ("b.tiff", "c.webp"):
        predict(weights, [str(photos / name)], out=tmp_path / name)
        assert f"{name}: has several frames" in capfd.readouterr().err


@pytest.mark.parametrize("result_format", FORMATS)
def test_no_prediction_is_kept(
    weights: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result_format: ResultFormat,
) -> None:
    kept: list[weakref.ref[Any]] = []
    plain = predictions.record

    def noted(found: Any, ids: Any) -> Any:
        kept.append(weakref.ref(found))
        assert sum(ref() is not None for ref in kept) <= 2
        return plain(found, ids)

    monkeypatch.setattr(predictions, "record", noted)
    predict(weights, [str(photos)], out=tmp_path / "found", format=result_format)
    assert len(kept) == 4
