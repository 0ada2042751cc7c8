from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.image_folder import find_image_folder, read_image_folder, whole_images
from detkit.errors import UserError


def picture(file: Path, width: int = 6, height: int = 4) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "train/dog/b.png",
        "train/cat/a.png",
        "train/cat/more/c.PNG",
        "val/dog/d.png",
        "val/cat/e.png",
    ):
        picture(tmp_path / name)
    (tmp_path / "train/cat/notes.txt").write_text("no image")
    return tmp_path


def test_the_folder_is_the_class(root: Path) -> None:
    truth = read_image_folder(root, "train")
    assert truth.classes == ("cat", "dog")
    assert truth.image_files.tolist() == ["train/cat/a.png", "train/cat/more/c.PNG", "train/dog/b.png"]
    assert truth.labels.tolist() == [0, 0, 1]
    assert truth.offsets.tolist() == [0, 1, 2, 3]
    assert not truth.sizes.any()


def test_classes_decide_the_labels_and_what_is_left_out(root: Path) -> None:
    assert read_image_folder(root, "train", ["dog", "cat"]).labels.tolist() == [1, 1, 0]
    only = read_image_folder(root, "train", ["dog", "emu"], ["cat"])
    assert (only.num_images, only.classes) == (1, ("dog", "emu"))
    with pytest.raises(UserError, match=r"class 'cat' is not in data\.classes"):
        read_image_folder(root, "train", ["dog"])


def test_the_object_grows_to_the_whole_image(root: Path) -> None:
    picture(root / "val/cat/large.png", 30, 20)
    truth = whole_images(read_image_folder(root, "val"))
    assert truth.boxes.tolist() == [[0, 0, 6, 4], [0, 0, 30, 20], [0, 0, 6, 4]]
    assert truth.sizes.tolist() == [[4, 6], [20, 30], [4, 6]]
    assert np.array_equal(truth.areas, [24, 600, 24])


def test_lists_name_images_of_an_undivided_folder(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png", "dog/c.png"):
        picture(tmp_path / name)
    assert read_image_folder(tmp_path, "all").num_images == 3
    listed = tmp_path / "mine.txt"
    listed.write_text(f"{(tmp_path / 'dog/c.png').resolve()}\n\ncat/a.png\n")
    assert read_image_folder(tmp_path, str(listed)).image_files.tolist() == ["dog/c.png", "cat/a.png"]
    listed.write_text("/elsewhere/dog/c.png\n")
    with pytest.raises(UserError, match=r"mine\.txt:1: .* is not in a class's folder"):
        read_image_folder(tmp_path, str(listed))


def test_a_list_that_is_hostile_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "cat/a.png")
    listed = tmp_path / "mine.txt"
    listed.write_bytes("cat/Bär.png".encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.txt: not a text file in UTF-8 \(byte 5\)"):
        read_image_folder(tmp_path, str(listed))
    for line in ("../cat/a.png", "cat/../../../a.png", "x" * 10**6):
        listed.write_text(f"cat/a.png\n{line}\n")
        with pytest.raises(UserError, match=r"mine\.txt:2: .* is not in a class's folder") as caught:
            read_image_folder(tmp_path, str(listed))
        assert len(str(caught.value)) < 1000
    with pytest.raises(UserError, match="no such f"):
        read_image_folder(tmp_path, "y" * 300)


def test_a_folder_whose_name_is_no_text_is_no_class(tmp_path: Path) -> None:
    picture(tmp_path / "cat/a.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).mkdir()
    picture(tmp_path / os.fsdecode(b"\xff") / "b.png")
    with pytest.raises(UserError, match=r"the class name '\\udcff' is not valid Unicode"):
        read_image_folder(tmp_path, "all")
    assert read_image_folder(tmp_path, "all", ["cat"], [os.fsdecode(b"\xff")]).num_images == 1


def test_what_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder; .* has train, val"):
        read_image_folder(root, "test")
    with pytest.raises(UserError, match="no such folder"):
        read_image_folder(root / "nowhere", "train")
    with pytest.raises(UserError, match="no such file"):
        read_image_folder(root, "lost.txt")
    (root / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="no image in empty/CLASS/"):
        read_image_folder(root, "empty")


def test_is_recognised_divided_or_not(root: Path, tmp_path: Path) -> None:
    found = find_image_folder(root)
    assert found is not None
    assert (found.format, [part.name for part in found.sets]) == ("image_folder", ["train", "val"])
    inner = find_image_folder(root / "train")
    assert inner is not None
    assert [part.name for part in inner.sets] == ["all"]
    assert find_image_folder(root / "train" / "dog") is None
    assert find_image_folder(root / "nowhere") is None
