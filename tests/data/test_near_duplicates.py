from __future__ import annotations

import io
import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detkit.data.images import decode_bytes
from detkit.data.near_duplicates import SAME, THUMBNAIL_PX, _code, near_duplicates, thumbnail_of
from detkit.errors import UserError
from tests.checks.small_datasets import draw

Pixels = NDArray[np.uint8]


def thumbnail(pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def stored_again(pixels: Pixels, quality: int, scale: float) -> Pixels:
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


@pytest.mark.parametrize(("quality", "scale"), [(95, 1.0), (40, 1.0), (80, 0.5), (80, 0.7), (90, 1.5)])
def test_a_picture_stored_again_is_found_among_others(quality: int, scale: float) -> None:
    rng = np.random.default_rng(quality)
    others = [draw(rng, 200, 300) for _ in range(40)]
    pictures = [*others, stored_again(others[7], quality, scale)]
    found = list(near_duplicates(np.stack([thumbnail(picture) for picture in pictures])))
    assert [(first, second) for first, second, _ in found] == [(7, 40)]
    assert found[0][2] <= SAME


def test_every_pair_that_looks_the_same_is_found() -> None:
    """Beside comparing every picture with every other."""
    rng = np.random.default_rng(5)
    pictures = [draw(rng, 60, 80) for _ in range(30)]
    pictures += [stored_again(pictures[i], 70, 0.9) for i in rng.integers(0, 30, 10)]
    small = [thumbnail(picture).astype(float) for picture in pictures]
    expected = {
        (i, j)
        for i in range(len(small))
        for j in range(i + 1, len(small))
        if np.sqrt(((small[i] - small[j]) ** 2).mean()) <= SAME * min(small[i].std(), small[j].std())
    }
    found = near_duplicates(np.stack([thumbnail(picture) for picture in pictures]))
    assert {(first, second) for first, second, share in found if share <= SAME} == expected
    assert len(expected) >= 10


def test_none_and_one() -> None:
    assert list(near_duplicates(np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX), dtype=np.uint8))) == []
    assert list(near_duplicates(np.zeros((1, THUMBNAIL_PX, THUMBNAIL_PX), dtype=np.uint8))) == []


def test_of_nearly_blank_pictures_noise_does_not_count() -> None:
    """A difference counts as a share of the contrast, but of six grey levels at least."""
    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(100, 106, THUMBNAIL_PX), (THUMBNAIL_PX, 1))  # a deviation of 1.7
    one = ramp.round().astype(np.uint8)
    two = one.copy()
    two[rng.random(two.shape) < 0.25] += 1  # half a grey level of noise: 8 % of 6, 29 % of 1.7
    [(first, second, share)] = near_duplicates(np.stack([one, two]))
    assert (first, second) == (0, 1)
    assert share == pytest.approx(0.5 / 6, rel=0.1)


def large_jpeg(width: int, height: int, turn: int = 1) -> tuple[bytes, Pixels]:
    """Return a picture as a JPEG, turned by EXIF, and its pixels as they are stored."""
    pixels = draw(np.random.default_rng(3), height, width)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue(), pixels


@pytest.mark.parametrize(("width", "height"), [(520, 700), (1100, 1030), (2100, 2500), (500, 2000)])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_large_jpeg_has_the_thumbnail_of_all_its_pixels(width: int, height: int, turn: int) -> None:
    data, pixels = large_jpeg(width, height, turn)
    found = thumbnail_of(data)
    expected = thumbnail(np.ascontiguousarray(np.rot90(pixels, -1)) if turn == 6 else pixels)
    assert np.abs(found.astype(int) - expected).max() <= 3
    checked = thumbnail_of(data, decode_bytes(data))  # as `check` does, which finds what `init` found
    assert np.array_equal(found, checked)


def test_a_large_jpeg_is_not_decoded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.data.near_duplicates.decode_bytes", None)
    thumbnail_of(large_jpeg(520, 700)[0])
    with pytest.raises(TypeError):
        thumbnail_of(large_jpeg(500, 700)[0])  # at a half too little is left of it


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_large_jpeg_of_other_channels_is_decoded_in_full(mode: str) -> None:
    pixels, file = draw(np.random.default_rng(4), 600, 800), io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=95)
    assert np.array_equal(thumbnail_of(file.getvalue()), thumbnail(decode_bytes(file.getvalue())))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_damaged_large_jpeg_has_no_thumbnail(keep: float) -> None:
    data, _ = large_jpeg(520, 700)
    with pytest.raises(UserError):
        thumbnail_of(data[: int(keep * len(data))])


def test_a_code_says_of_nine_columns_in_eight_rows_where_they_become_brighter_by_more_than_a_level() -> None:
    table = np.random.default_rng(0).integers(0, 5, (8, 9))
    expected = [b - a >= 2 for row in table.tolist() for a, b in itertools.pairwise(row)]
    assert _code(np.kron(table, np.ones((4, 4))).astype(np.uint8)).tolist() == expected
