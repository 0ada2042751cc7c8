"""Which files of a dataset are opened as images: docs/datasets.md, "Which files are opened"."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detkit.annotations.image_places import ROOTS_VARIABLE, ImagePlaces


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with an image, and beside it what it must not reach."""
    monkeypatch.delenv(ROOTS_VARIABLE, raising=False)
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "images" / "1.jpg").write_bytes(b"image")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "2.jpg").write_bytes(b"image")
    (tmp_path / "secret.txt").write_text("secret")
    return root


def refusal(root: Path, file: str | Path) -> str:
    return ImagePlaces([root]).refusal(os.path.join(root, file))  # noqa: PTH118


def test_files_inside_are_opened_by_any_name(root: Path) -> None:
    assert refusal(root, "images/1.jpg") == ""
    assert refusal(root, "images/../images/1.jpg") == ""
    assert refusal(root, root / "images" / "1.jpg") == ""
    assert refusal(root, "images/not there.jpg") == ""  # missing is said by others
    assert refusal(root, "images/\0.jpg") == ""


def test_a_relative_root_may_climb(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "work").mkdir()
    monkeypatch.chdir(root / "work")
    assert ImagePlaces(["../images"]).refusal("../images/1.jpg") == ""
    assert ImagePlaces(["."]).refusal("1.jpg") == ""
    assert "outside" in ImagePlaces(["."]).refusal("../images/1.jpg")


def test_absolute_and_climbing_paths_are_named(root: Path) -> None:
    for file in ("/etc/passwd", "../secret.txt", "images/../../secret.txt", root.parent / "disk" / "2.jpg"):
        said = refusal(root, file)
        assert "outside" in said
        assert str(root) in said
        assert "absolute path or by .." in said


def test_folders_may_be_links(root: Path) -> None:
    disk = root.parent / "disk"
    (root / "more").symlink_to(disk)
    assert refusal(root, "more/2.jpg") == ""
    (root.parent / "link to set").symlink_to(root)
    assert refusal(root.parent / "link to set", "images/1.jpg") == ""
    assert refusal(root.parent / "link to set", root / "images" / "1.jpg") == ""
    assert refusal(root, root.parent / "link to set" / "images" / "1.jpg") == ""
    # From a linked folder `..` leads to the folder above the one that it is a link to.
    (disk / "deep").mkdir()
    (root / "deep").symlink_to(disk / "deep")
    assert "outside" in refusal(root, "deep/../2.jpg")


def test_an_image_that_is_a_link_stays_inside(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = root.parent / "disk"
    (root / "a.jpg").symlink_to("images/1.jpg")
    assert refusal(root, "a.jpg") == ""
    (root / "b.jpg").symlink_to(disk / "2.jpg")
    (root / "c.jpg").symlink_to("b.jpg")
    for file in ("b.jpg", "c.jpg"):
        said = refusal(root, file)
        assert f"link to {disk / '2.jpg'}" in said
        assert ROOTS_VARIABLE in said
    # In a folder that is a link to elsewhere, links within that folder are fine.
    (disk / "3.jpg").symlink_to("2.jpg")
    (root / "more").symlink_to(disk)
    assert refusal(root, "more/3.jpg") == ""
    monkeypatch.setenv(ROOTS_VARIABLE, f"/nowhere{os.pathsep}{disk}")
    assert refusal(root, "b.jpg") == ""
    assert refusal(root, disk / "2.jpg") == ""


def test_only_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.jpg")
    (root / "folder.jpg").mkdir()
    (root / "loop.jpg").symlink_to("loop.jpg")
    assert "named pipe" in refusal(root, "pipe.jpg")
    assert "folder" in refusal(root, "folder.jpg")
    assert "symbolic links" in refusal(root, "loop.jpg")
    assert "device" in ImagePlaces(["/dev"]).refusal("/dev/zero")
    assert "name too long" in refusal(root, "x" * 300 + ".jpg")
    (root / "nowhere.jpg").symlink_to("not there")
    assert refusal(root, "nowhere.jpg") == ""


def test_a_path_with_a_nul_byte_is_no_place_to_refuse(root: Path) -> None:
    assert refusal(root, "../a\0b/c.jpg") == ""
