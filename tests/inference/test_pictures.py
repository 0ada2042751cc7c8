"""Images are predicted alike in every form that Python has them in; what is one and what several is plain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.errors import UserError
from detkit.inference.pictures import pixels_of
from detkit.inference.prediction import Prediction
from tests.inference.bright import picture, predictor

PIXELS = picture(50, 60, (20, 10, 40, 30, 0, 200), (4, 30, 16, 50, 2, 255))
GREY = PIXELS[..., 2]


def channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    "given",
    [
        PIXELS,
        PIXELS[::-1].copy()[::-1],
        channels_first(PIXELS),
        channels_first(PIXELS).float() / 255,
        channels_first(PIXELS).double() / 255,
        (channels_first(PIXELS).float() / 255).requires_grad_(),
        Image.fromarray(PIXELS),
        Image.fromarray(np.dstack([PIXELS, np.full(PIXELS.shape[:2], 9, np.uint8)])),
    ],
    ids=["array", "mirrored view", "uint8", "float", "double", "with gradient", "PIL", "PIL with alpha"],
)
def test_pixels_are_the_same_in_every_form(given: Any) -> None:
    pixels = pixels_of(given)
    np.testing.assert_array_equal(pixels, PIXELS)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable, "torch warns of others"


@pytest.mark.parametrize(
    "given",
    [
        GREY,
        torch.from_numpy(GREY.copy()),
        torch.from_numpy(GREY.copy())[None],
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
    ],
    ids=["array", "tensor", "one channel", "PIL", "PIL of 16 bits"],
)
def test_grey_becomes_three_equal_channels(given: Any) -> None:
    np.testing.assert_array_equal(pixels_of(given), np.dstack([GREY] * 3))


def test_other_ranges_are_rounded_to_the_nearest_of_256_values(tmp_path: Path) -> None:
    floats = torch.tensor([[0.4, 0.6, 99.6, 254.4]], dtype=torch.float64) / 255
    assert pixels_of(floats)[0, :, 0].tolist() == [0, 1, 100, 254]
    deep = Image.fromarray(np.array([[128, 129, 511, 65535]], np.uint16))
    assert pixels_of(deep)[0, :, 0].tolist() == [0, 1, 2, 255]
    deep.save(tmp_path / "deep.png")
    np.testing.assert_array_equal(pixels_of(tmp_path / "deep.png"), pixels_of(deep))


def test_a_pil_image_keeps_its_pixels_where_a_file_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(pixels_of(opened), PIXELS)
    assert pixels_of(tmp_path / "a.png").shape == (60, 50, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PIXELS.astype(np.float32), r"uint8 RGB.*found \(50, 60, 3\) float32.*image\.round\(\)\.astype"),
        (PIXELS / 255, r"found \(50, 60, 3\) float64.*\(image \* 255\)\.round\(\)\.astype"),
        (GREY / 100 - 1, r"found \(50, 60\) float64.*from -1 to .*: bring them to 0 to 255"),
        (PIXELS.astype(np.uint16) * 257, r"from 0 to 65535: bring them to 0 to 255"),
        (PIXELS[None], r"found \(1, 50, 60, 3\).*list\(batch\)"),
        (PIXELS.transpose(2, 0, 1), r"transpose\(1, 2, 0\)"),
        (np.dstack([PIXELS, GREY]), r"transparency: image\[\.\.\., :3\]"),
        (PIXELS[:0], r"found \(0, 60, 3\)"),
        (torch.from_numpy(PIXELS), r"found \(50, 60, 3\) torch.uint8.*permute\(2, 0, 1\)"),
        (channels_first(PIXELS)[None], r"list\(batch\)"),
        (channels_first(PIXELS).int(), r"uint8 or float; found .*int32"),
        (channels_first(PIXELS).float(), r"in \[0, 1\], not normalised; found 0 to 255; divide it by 255$"),
        (channels_first(PIXELS).float() - 9, r"found -9 to 246$"),
        (torch.full((3, 4, 4), torch.nan), r"in \[0, 1\].*found nan"),
        (torch.zeros(3, 0, 4), r"found a tensor of \(3, 0, 4\)"),
        (Image.fromarray(PIXELS[..., 0].astype(np.float32)), "mode 'F' have no stated range"),
    ],
)
def test_other_pixels_are_refused_with_what_would_do(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        predictor().predict(given)
    with pytest.raises(UserError, match=message):
        predictor().predict([given])


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (3, "int"),
        (None, "NoneType"),
        (b"ab", "bytes"),
        ({"a": 1}, "dict"),
        ([[PIXELS]], "list"),
        ([3], "int"),
    ],
)
def test_what_is_no_image_is_named_by_its_type(given: Any, kind: str) -> None:
    with pytest.raises(UserError, match=f"got a {kind}$"):
        predictor().predict(given)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in the working folder, with an image and one in a folder below."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "below/b.png", "c[1].png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(file)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "given",
    [
        lambda photos: "photos/a.png",
        lambda photos: photos / "a.png",
        lambda photos: "photos/c[1].png",  # a file of that name comes before a pattern
        lambda photos: PIXELS,
        lambda photos: channels_first(PIXELS),
        lambda photos: Image.fromarray(PIXELS),
    ],
)
def test_one_image_gives_one_prediction(photos: Path, given: Callable[[Path], Any]) -> None:
    found = predictor().predict(given(photos))
    assert isinstance(found, Prediction)
    assert found.names == ("blue", "red")


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        (["photos/a.png"], ["photos/a.png"]),
        ([], []),
        ("photos", ["photos/a.png", "photos/below/b.png", "photos/c[1].png"]),
        ("photos/below", ["photos/below/b.png"]),
        ("photos/a*", ["photos/a.png"]),
        (Path("photos/**/b.png"), ["photos/below/b.png"]),
        (
            ["photos/a.png", PIXELS, "photos/below", Path("photos/a.png"), "photos/?.png"],
            ["photos/a.png", None, "photos/below/b.png", "photos/a.png", "photos/a.png"],
        ),
    ],
)
def test_several_give_a_list_in_order_even_of_one(photos: Path, given: Any, sources: list[str]) -> None:
    assert photos.is_dir()
    found = predictor().predict(given)
    assert isinstance(found, list)
    assert [one.source for one in found] == sources
    assert [one.source for one in predictor().stream(given)] == sources


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("http://host/a.jpg", "opens no connections; download"),
        (Path("https://host/a.jpg"), "opens no connections; download"),
        ("s3://bucket/a.jpg", "opens no connections; download"),
        ("clip.mp4", "a video is not read here; detkit predict"),
        (Path("clip.MOV"), "a video is not read here; detkit predict"),
        ("absent.png", "absent.png: the image does not exist"),
        ("absent*.png", "no file matches it as a pattern"),
    ],
)
def test_addresses_and_videos_are_refused_with_what_works_instead(
    photos: Path, given: str | Path, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predictor().predict(given)
    with pytest.raises(UserError, match=message):
        predictor().predict(["photos/a.png", given])


def test_folders_whose_names_look_like_videos_or_addresses_are_read(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("clip.mp4", "at:"):
        (photos / name).mkdir()
        Image.fromarray(PIXELS).save(photos / name / "a.png")
    assert len(predictor().predict("photos/clip.mp4")) == 1
    monkeypatch.chdir(photos)
    assert predictor().predict("at:/a.png").names == ("blue", "red")
