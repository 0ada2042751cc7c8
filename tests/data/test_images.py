from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from detkit.annotations.image_files import image_size
from detkit.data import images
from detkit.data.images import decode_bytes, decode_image, has_frames, orient, pixels_of_pil
from detkit.errors import UserError

SMOOTH = np.stack(np.meshgrid(np.arange(24) * 10, np.arange(17) * 15), axis=-1)
COLOURS = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], axis=-1).astype(np.uint8)


def saved(image: Image.Image, extension: str, folder: Path, **options: object) -> Path:
    path = folder / f"picture{extension}"
    image.save(path, **options)
    return path


def in_mode(mode: str) -> Image.Image:
    colours = Image.fromarray(COLOURS)
    if mode in ("RGBA", "LA"):
        image = colours.convert("L") if mode == "LA" else colours
        image.putalpha(Image.fromarray(COLOURS[..., 0]))
        return image
    return colours.convert(mode)


@pytest.mark.parametrize(
    ("mode", "extension"),
    [
        ("RGB", ".jpg"),
        ("L", ".jpg"),
        ("CMYK", ".jpg"),
        *[(mode, ".png") for mode in ("RGB", "L", "P", "1", "RGBA", "LA")],
        *[(mode, ".tif") for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK")],
        *[(mode, ".bmp") for mode in ("RGB", "L", "P", "1")],
        ("P", ".gif"),
        ("RGB", ".webp"),
    ],
)
def test_eight_bit_modes_are_pillows_rgb(mode: str, extension: str, tmp_path: Path) -> None:
    path = saved(in_mode(mode), extension, tmp_path)
    pixels = decode_image(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert image_size(path) == pixels.shape[:2] == (17, 24)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 30, "subsampling": 2},
        {"subsampling": 0},
        {"subsampling": 1},
        {"progressive": True},
        {"optimize": True, "restart_marker_rows": 1},
        {"quality": 95, "keep_rgb": True},
    ],
)
def test_jpeg_is_what_pillow_reads(options: dict[str, object], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for pixels in (noise, COLOURS):
        path = saved(Image.fromarray(pixels), ".jpg", tmp_path, **options)
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode_image(path), np.asarray(image))


def test_an_ordinary_jpeg_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(in_mode("RGB"), ".jpg", tmp_path)
    monkeypatch.setattr(JpegImageFile, "load", lambda _: pytest.fail("Pillow decoded it, too"))
    assert decode_image(path).shape == (17, 24, 3)


@pytest.mark.parametrize("missing", [1, 2, 3, 10, 100])
def test_a_jpeg_without_its_last_bytes_is_refused_or_whole(missing: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    data = stream.getvalue()
    if missing > 2:
        with pytest.raises(UserError, match="truncated or damaged"):
            decode_bytes(data[:-missing])
    else:  # only the mark of the end is missing
        with suppress(UserError):
            np.testing.assert_array_equal(decode_bytes(data[:-missing]), decode_bytes(data))


def test_alpha_is_dropped_and_hidden_colours_stay(tmp_path: Path) -> None:
    path = saved(in_mode("RGBA"), ".png", tmp_path)
    np.testing.assert_array_equal(decode_image(path), COLOURS)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_sixteen_bits_are_divided_by_257(extension: str, channels: int) -> None:
    shape = (9, 7, channels) if channels else (9, 7)
    deep = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    deep.flat[:4] = [0, 65535, 128, 129]
    encoded = cv2.imencode(extension, deep)[1].tobytes()
    colours = deep[..., 2::-1] if channels else np.repeat(deep[..., None], 3, axis=-1)
    np.testing.assert_array_equal(decode_bytes(encoded), np.round(colours / 257.0).astype(np.uint8))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_range_are_refused(mode: str, tmp_path: Path) -> None:
    path = saved(Image.new(mode, (4, 3)), ".tif", tmp_path)
    with pytest.raises(UserError, match=r"picture\.tif: pixels of mode .* 8 or 16 bits"):
        decode_image(path)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_applied_once(value: int, extension: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    path = saved(in_mode("RGB"), extension, tmp_path, exif=exif)
    pixels = decode_image(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(pixels, expected)
    assert image_size(path) == pixels.shape[:2]


@pytest.mark.parametrize("container", ["PNG", "TIFF"])
def test_sixteen_bits_with_orientation(container: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, container, exif=exif)
    np.testing.assert_array_equal(
        decode_bytes(stream.getvalue())[..., 0], np.rot90(np.round(deep / 257.0).astype(np.uint8), -1)
    )


def test_orient_of_every_value_matches_pillow() -> None:
    methods = [
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    ]
    for value, method in enumerate(methods, 1):
        image = Image.fromarray(COLOURS)
        expected = image if method is None else image.transpose(method)
        np.testing.assert_array_equal(orient(COLOURS, value), np.asarray(expected))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif", ".bmp", ".webp", ".gif"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_truncated_files_are_refused_by_name(extension: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = saved(Image.fromarray(noise), extension, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=rf"picture\{extension}"):
        decode_image(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_truncated_sixteen_bit_files_are_refused(channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 50, channels), dtype=np.uint16)
    encoded = cv2.imencode(".png", deep)[1].tobytes()
    with pytest.raises(UserError, match="truncated or damaged"):
        decode_bytes(encoded[: len(encoded) // 2])


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.jpg: the image does not exist"):
        decode_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="does not exist"):
        image_size(tmp_path / "absent.jpg")
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(UserError, match=r"empty\.png: the file is empty"):
        decode_image(empty)
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    with pytest.raises(UserError, match=r"text\.jpg: not an image"):
        decode_image(text)
    with pytest.raises(UserError, match=r"text\.jpg: not a readable image"):
        image_size(text)
    with pytest.raises(UserError, match="cannot be read"):
        decode_image(tmp_path)


def test_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("L", (5, 4), shade) for shade in (10, 200)]
    path = tmp_path / "pages.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert (decode_image(path) == 10).all()


def test_pages_are_told_and_what_cannot_be_read_has_none(tmp_path: Path) -> None:
    frames = [Image.new("L", (5, 4), shade) for shade in (10, 200)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.tif")
    frames[0].convert("RGB").save(
        tmp_path / "two.mpo", save_all=True, append_images=[Image.new("RGB", (5, 4))]
    )
    (tmp_path / "none.tif").write_bytes(b"nothing")
    assert has_frames(tmp_path / "two.tif")
    for name in ("one.tif", "two.mpo", "none.tif", "absent.tif", "."):
        assert not has_frames(tmp_path / name)


def test_an_image_too_large_to_be_decoded_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("L", (40, 30)).save(buffer, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UserError) as caught:
        decode_bytes(buffer.getvalue())
    assert str(caught.value).startswith(
        "the image is too large (Image size (1200 pixels) exceeds limit of 1000 "
    )
    assert str(caught.value).endswith("); cut it into tiles")


def test_too_little_memory_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: object, data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "_decoded", fail)
    buffer = io.BytesIO()
    Image.new("L", (4, 3)).save(buffer, "PNG")
    with pytest.raises(MemoryError):
        decode_bytes(buffer.getvalue())


def test_a_pil_image_whose_file_is_damaged_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, "JPEG")
    cut_off = buffer.getvalue()[: len(buffer.getvalue()) // 2 + 300]
    with Image.open(io.BytesIO(cut_off)) as image, pytest.raises(UserError) as caught:
        pixels_of_pil(image)
    assert str(caught.value).startswith("the image is truncated or damaged (")


def test_floating_point_pixels_are_refused_by_one_voice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved(Image.fromarray(COLOURS[..., 0].astype(np.float32)), ".tif", tmp_path)
    with pytest.raises(UserError, match="mode 'F' have no stated range"):
        decode_image(path)
    assert capfd.readouterr().err == ""
