from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.annotations import image_files
from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import (
    ImageFolders,
    image_size,
    images_below,
    read_image,
    require_images,
    with_sizes,
)
from detkit.errors import UserError


def a_set(root: Path, *files: str) -> AnnotationSet:
    assembly = Assembly("coco")
    for file in files:
        assembly.add_image(file, (0, 0), "the annotations")
    return assembly.build(str(root), ["a"], [], [1])


def picture(file: Path, width: int = 4, height: int = 3) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(file)
    return file


def header_of_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    end = b"\x00\x00\x00\x00IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def test_missing_and_refused_images_are_told_apart(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    require_images(a_set(tmp_path, "a.png", str(tmp_path / "a.png")))
    with pytest.raises(UserError, match=r"2 of 3 images are missing:\n.*b.png \(wanted by the annotations\)"):
        require_images(a_set(tmp_path, "a.png", "b.png", "a.png/c.png"))
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"1 of 3 images are not opened:\n.*pipe.png: it is a named pipe"):
        require_images(a_set(tmp_path, "a.png", "b.png", "pipe.png"))
    with pytest.raises(UserError, match=r"/etc/passwd: it is outside of "):
        require_images(a_set(tmp_path, "/etc/passwd"))
    with pytest.raises(UserError, match="1 of 1 images are missing"):
        require_images(a_set(tmp_path, "x" * 300))


def test_further_folders_of_a_set(tmp_path: Path) -> None:
    file = picture(tmp_path / "elsewhere" / "a.png")
    truth = a_set(tmp_path / "set", str(file))
    with pytest.raises(UserError, match="outside"):
        require_images(truth)
    require_images(replace(truth, image_roots=(str(file.parent),)))


def test_sizes_are_not_read_from_outside(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="outside"):
        with_sizes(a_set(tmp_path / "set", "../a.png"))


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (15_000, 15_000)])
def test_a_header_that_states_too_many_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(header_of_png(*size))
    with pytest.raises(UserError, match=r"bomb.png: not a readable image"):
        image_size(tmp_path / "bomb.png")


def test_the_bound_of_pixels_is_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(header_of_png(15_000, 15_000))
    with pytest.raises(UserError, match=r"too large \(15000 x 15000 pixels"):
        image_size(tmp_path / "bomb.png")


def test_a_file_of_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    monkeypatch.setattr(image_files, "MOST_BYTES", 5)
    assert read_image(tmp_path / "a.jpg") == b"12345"
    monkeypatch.setattr(image_files, "MOST_BYTES", 4)
    with pytest.raises(UserError, match=r"a.jpg: "):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_file_is_not_opened(tmp_path: Path, read: object) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for a writer
    (tmp_path / "folder.jpg").mkdir()
    for file in (tmp_path / "pipe.jpg", tmp_path / "folder.jpg", Path("/dev/zero")):
        with pytest.raises(UserError, match=rf"{file}: "):
            read(file)
    with pytest.raises(UserError, match="the image does not exist"):
        read(tmp_path / "none.jpg")


def test_images_below(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / name) for name in ("b.png", "b/c.JPG", "b/c/d.e.png")]
    for hidden in (".hidden/x.png", "b/._c.JPG"):
        picture(tmp_path / hidden)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".jpg").write_text("a name, not an extension")
    (tmp_path / "folder.jpg").mkdir()
    wanted += [tmp_path / "loop.jpg", tmp_path / "pipe.png", tmp_path / "link.png"]
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "again").symlink_to(".")  # followed, it would go round and round
    (tmp_path / "link.png").symlink_to("b.png")
    others = Counter[str]()
    assert images_below(tmp_path, others) == images_below(tmp_path) == sorted(wanted)
    assert others == {".txt": 1}  # a link to a folder is no file


def test_a_walk_among_strangers_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_MOST_STRANGERS", 5)
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    assert images_below(tmp_path) == []
    picture(tmp_path / "a.png")
    for number in range(5, 7):  # each image comes with two files of its own at most
        (tmp_path / f"{number}.txt").touch()
    assert len(images_below(tmp_path)) == 1
    (tmp_path / "8.txt").touch()
    with pytest.raises(UserError, match="8 files and folders in it are no images, and 1 are"):
        images_below(tmp_path)


def test_a_set_of_many_images_has_the_sizes_of_each(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", 10 + number, 20)
    truth = with_sizes(a_set(tmp_path, "0.png", "1.png", "2.png"))
    np.testing.assert_array_equal(truth.sizes, [[20, 10], [20, 11], [20, 12]])


def test_of_images_of_one_stem_an_annotation_has_the_one_whose_name_is_written_in_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.PNG"):
        picture(tmp_path / name)
    folders = ImageFolders([tmp_path])
    assert folders.find("a", "a.png") == tmp_path / "a.png"
    assert folders.find("a", "a.jpg") == tmp_path / "a.jpg"
    assert folders.find("c", "b.PNG") == tmp_path / "b.PNG"
    assert folders.find("c", "B.png") == tmp_path / "b.PNG"
    assert folders.find("c", "d.png") is None
    if not (tmp_path / "A.jpg").exists():  # large letters are others here
        picture(tmp_path / "A.bmp")
        folders = ImageFolders([tmp_path])
        assert folders.find("a", None) == tmp_path / "a.jpg"
        assert folders.find("A", None) == tmp_path / "A.bmp"
