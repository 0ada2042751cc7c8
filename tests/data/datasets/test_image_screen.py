from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.voc import read_voc
from detkit.data.datasets.image_screen import ImageScreen, remember_decoded, unreadable_images
from detkit.data.synthetic.dataset import write_synthetic
from detkit.errors import UserError


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnnotationSet:
    """Return six images, of which two cannot be read by their headers."""
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    write_synthetic(tmp_path / "data", "voc", 6, 1)
    for number, content in ((1, b""), (4, b"no image")):
        (tmp_path / "data" / "JPEGImages" / f"train_00000{number}.jpg").write_bytes(content)
    return read_voc(tmp_path / "data", ["train"])


def names(truth: AnnotationSet) -> list[str]:
    return [Path(file).stem[-1] for file in truth.image_files.tolist()]


def test_more_bad_images_than_allowed_are_an_error_that_lists_them(truth: AnnotationSet) -> None:
    with pytest.raises(
        UserError, match=r"(?s)^2 images cannot be read:.*train_000001.*_000004.*--skip-bad 2"
    ):
        ImageScreen(0)(truth)
    with pytest.raises(UserError, match=r"^2 images cannot be read, more than --skip-bad 1:"):
        ImageScreen(1)(truth)


def test_headers_are_counted_as_they_are_read(
    truth: AnnotationSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detkit.runtime.progress._BETWEEN_LINES_S", 0.0)
    unreadable_images([f"{truth.root}/{file}" for file in truth.image_files])
    counts = re.findall(r"^headers: (\d) of 6 images", capsys.readouterr().err, re.MULTILINE)
    assert counts == ["1", "2", "3", "4", "5", "6"]


def test_up_to_so_many_are_left_out_with_their_objects(truth: AnnotationSet) -> None:
    screen = ImageScreen(2)
    kept = screen(truth)
    assert names(kept) == ["0", "2", "3", "5"]
    counts = truth.offsets[1:] - truth.offsets[:-1]
    assert (kept.offsets[1:] - kept.offsets[:-1]).tolist() == counts[[0, 2, 3, 5]].tolist()
    assert [Path(item["image"]).name for item in screen.skipped] == ["train_000001.jpg", "train_000004.jpg"]
    assert all(item["error"].startswith(item["image"]) for item in screen.skipped)


def test_what_a_resumed_training_left_out_stays_out_and_counts(truth: AnnotationSet) -> None:
    before = [{"image": f"{truth.root}/{truth.image_files[0]}", "error": "was bad"}]
    assert names(ImageScreen(3, list(before))(truth)) == ["2", "3", "5"]
    with pytest.raises(UserError, match="3 images cannot be read, more than --skip-bad 2"):
        ImageScreen(2, list(before))(truth)
    bad = [*before, *({"image": f"{truth.root}/{truth.image_files[i]}", "error": ""} for i in (1, 4))]
    assert names(ImageScreen(0, bad)(truth)) == ["2", "3", "5"]  # nothing new


def test_the_first_process_decides(truth: AnnotationSet) -> None:
    seen = f"{truth.root}/{truth.image_files[5]}"
    assert names(ImageScreen(1, decide=lambda _: {seen: "bad there"})(truth)) == ["0", "1", "2", "3", "4"]


def test_what_decoding_found_is_known_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "a.png"
    Image.new("RGB", (9, 9)).save(file)
    path = str(file)
    assert unreadable_images([path]) == {}
    remember_decoded({path: f"{path}: truncated"})  # what headers do not show
    assert unreadable_images([path]) == {path: f"{path}: truncated"}
    monkeypatch.setattr("detkit.data.datasets.image_screen.image_size", lambda _: 1 / 0)
    remember_decoded({path: ""})
    assert unreadable_images([path]) == {}  # not even its header was read
    os.utime(file, ns=(1, 1))
    with pytest.raises(ZeroDivisionError):
        unreadable_images([path])


@pytest.mark.parametrize("content", [b"", b"nothing", b"[]", b'{"a.png": 3}', b'{"a.png": ["", "x"]}'])
def test_a_damaged_cache_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "a.png"
    Image.new("RGB", (9, 9)).save(file)
    remember_decoded({str(file): "bad"})
    [kept] = (tmp_path / "cache" / "images").iterdir()
    kept.write_bytes(content)
    assert unreadable_images([str(file)]) == {}
