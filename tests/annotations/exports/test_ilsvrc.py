"""ILSVRC's folders: which images a part has, what classes are called, and where a box ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.coordinates import to_corners
from detkit.annotations.detect import detect_format
from detkit.annotations.exports.ilsvrc import class_words, images_of, read_ilsvrc
from detkit.annotations.exports.read import read_export
from detkit.errors import UserError
from tests.workflows.layouts import ilsvrc, ilsvrc_det, text


def annotation(file: Path, *corners: tuple[int, int, int, int], size: str = "") -> None:
    objects = "".join(
        f"<object><name>n00000001</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in corners
    )
    text(file, f"<annotation>{size}{objects}</annotation>")


def test_a_box_has_its_last_pixel_and_ends_at_the_side_of_the_image(tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    size = "<size><width>100</width><height>50</height></size>"
    annotation(part / "a.xml", (0, 0, 99, 49), (0, 0, 100, 50), (10, 20, 10, 21), size=size)
    annotation(part / "b.xml", (0, 3, 9, 9))  # no size, as some files have
    truth = read_export("ilsvrc", images_of(part), part)
    assert truth.image_files.tolist() == ["a.JPEG", "b.JPEG"]
    assert truth.sizes.tolist() == [[50, 100], [0, 0]]
    corners = to_corners(truth.boxes, truth.box_format)
    np.testing.assert_array_equal(
        corners, [[0, 0, 100, 50], [0, 0, 100, 50], [10, 20, 11, 22], [0, 3, 10, 10]]
    )
    assert truth.classes == ("n00000001",)
    assert not truth.difficult.any()


def test_training_images_are_those_of_all_lists_but_the_partly_labelled(tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "train"
    lists = tmp_path / "ImageSets" / "DET"
    for name in ("x/full", "x/partly"):
        annotation(part / f"{name}.xml", (1, 2, 3, 4))
    text(lists / "train_1.txt", "x/full 1\nx/partly 1\nextra/nothing -1\n")
    text(lists / "train_2.txt", "x/partly 0\nx/full -1\nextra/other -1\n")
    text(lists / "train_of_mine.txt", "x/strange 1\n")
    images = read_ilsvrc(part)
    assert [(image.name, len(image.objects)) for image in images] == [
        ("x/full.JPEG", 1),
        ("extra/nothing.JPEG", 0),
        ("extra/other.JPEG", 0),
    ]


def test_one_list_is_taken_as_it_is(tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    annotation(part / "a.xml")
    annotation(part / "b.xml")
    text(tmp_path / "ImageSets" / "DET" / "val.txt", "b 0\na 2\n")
    assert [image.name for image in read_ilsvrc(part)] == ["b.JPEG", "a.JPEG"]


def test_classes_are_called_by_their_first_word_and_told_apart(tmp_path: Path) -> None:
    root = tmp_path / "ILSVRC"
    assert class_words(root, "CLS-LOC") == {}
    text(root / "devkit/data/map_clsloc.txt", "n02119789 1 kit_fox\n")
    assert class_words(root, "CLS-LOC") == {"n02119789": "kit fox"}
    text(tmp_path / "LOC_synset_mapping.txt", "n02012849 crane\nn03126707 crane\nn01440764 tench, Tinca\n")
    assert class_words(root, "CLS-LOC") == {
        "n02012849": "crane (n02012849)",
        "n03126707": "crane (n03126707)",
        "n01440764": "tench",
    }
    text(root / "map_det.txt", "accordion 1\n")
    with pytest.raises(UserError, match=r"map_det\.txt, line 1: wanted is a number of WordNet's and words"):
        class_words(root, "DET")


def test_a_class_that_no_file_names_is_called_by_its_number(tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    annotation(part / "a.xml", (1, 2, 3, 4))
    text(tmp_path / "devkit/data/map_det.txt", "n00000002 1 other thing\n")
    assert read_export("ilsvrc", images_of(part), part).classes == ("n00000001",)


def test_an_image_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    annotation(part / "a.xml", (1, 2, 3, 4))
    text(tmp_path / "ImageSets" / "DET" / "val.txt", "a 1\na 2\n")
    truth = read_export("ilsvrc", images_of(part), part)
    assert (truth.image_files.tolist(), truth.num_objects) == (["a.JPEG"], 1)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("<annotation>\n<object>", r"a\.xml:2: not well-formed XML"),
        ("", r"a\.xml:1: not well-formed XML"),
        ("<annotation><object><name>n00000001</name></object></annotation>", r"a\.xml: object 1"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares a document type or entities"),
    ],
)
def test_a_broken_file_is_named(broken: str, said: str, tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    text(part / "a.xml", broken)
    with pytest.raises(UserError, match=said):
        read_export("ilsvrc", images_of(part), part)


@pytest.mark.parametrize("lists", [{"val": ""}, {"val_1": "a 0\n", "val_2": "a 1\n"}])
def test_lists_without_an_image_are_refused(lists: dict[str, str], tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    annotation(part / "a.xml")
    for name, lines in lists.items():
        text(tmp_path / "ImageSets" / "DET" / f"{name}.txt", lines)
    with pytest.raises(UserError, match=r"val.*\.txt: neither it nor another list of val names an image"):
        read_ilsvrc(part)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\\b", "x/../../y"])
def test_lists_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    part = tmp_path / "Annotations" / "DET" / "val"
    annotation(part / "a.xml")
    text(tmp_path / "ImageSets" / "DET" / "val.txt", f"a 1\n{name} 2\n")
    with pytest.raises(UserError, match=r"val\.txt: .* is no name of an image below the folder of its part"):
        read_ilsvrc(part)


def test_other_folders_are_refused_with_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    for place in (tmp_path / "val", tmp_path / "Annotations" / "DET" / "val"):
        with pytest.raises(UserError, match="wanted is a folder ROOT/Annotations/TASK/PART"):
            read_ilsvrc(place)


def test_it_is_found_from_the_root_down_to_a_part_and_two_tasks_are_told_apart(tmp_path: Path) -> None:
    root = ilsvrc_det(tmp_path)
    task = root / "Annotations" / "DET"
    for place in (root, root / "Annotations", task):
        found = detect_format(place)
        assert (found.format, [item.name for item in found.sets]) == ("ilsvrc", ["train", "val"])
        assert found.sets[1].images == root / "Data" / "DET" / "val"
    assert [item.annotations for item in detect_format(task / "val").sets] == [task / "val"]
    ilsvrc(root, "CLS-LOC", "val", "d4")
    with pytest.raises(UserError, match="two tasks of ILSVRC are in it; name one of them") as caught:
        detect_format(root)
    assert str(task) in str(caught.value)
    assert [item.name for item in detect_format(root / "Annotations" / "CLS-LOC").sets] == ["val"]
