from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.image_files import require_images
from detkit.annotations.voc import contents_of, has_images, read_voc
from detkit.errors import UserError

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def thing(name: str = "cat", box: tuple[object, ...] = (1, 2, 10, 20), extra: str = "") -> str:
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def put(folder: Path, stem: str, body: str, image: str | None = ".jpg", file_name: str | None = None) -> None:
    annotations = folder / "Annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    name = f"<filename>{file_name}</filename>" if file_name else ""
    (annotations / f"{stem}.xml").write_text(f"<annotation>{name}{body}</annotation>")
    if image:
        Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{stem}{image}")


def put_set(folder: Path, name: str, *stems: str) -> None:
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def test_one_folder(tmp_path: Path) -> None:
    put(tmp_path, "b", SIZE + thing("dog", (1.5, 2.25, 10, 20)) + thing(extra="<difficult>1</difficult>"))
    put(tmp_path, "a", SIZE, ".PNG")
    put(tmp_path, "c", thing())
    put_set(tmp_path, "train", "c", "b", "a")
    truth = read_voc(tmp_path, ["train"], None)
    assert truth.classes == ("cat", "dog")
    assert truth.image_files.tolist() == ["JPEGImages/c.jpg", "JPEGImages/b.jpg", "JPEGImages/a.PNG"]
    assert truth.offsets.tolist() == [0, 1, 3, 3]
    assert truth.boxes.tolist() == [[1, 2, 10, 20], [1.5, 2.25, 10, 20], [1, 2, 10, 20]]
    assert truth.labels.tolist() == [0, 1, 0]
    assert truth.difficult.tolist() == [False, False, True]
    assert truth.sizes.tolist() == [[0, 0], [30, 40], [30, 40]]
    assert truth.areas.tolist() == [190, 9.5 * 18.75, 190]
    assert truth.category_ids.tolist() == [1, 2]
    assert truth.image_ids.tolist() == truth.ids.tolist() == [1, 2, 3]
    assert truth.sources[0] == str(tmp_path / "Annotations" / "c.xml")
    assert truth.box_format == "voc"
    require_images(truth)
    assert read_voc(tmp_path).image_files.tolist()[0] == "JPEGImages/a.PNG"


def test_devkit_with_years(tmp_path: Path) -> None:
    for year, stem in (("2007", "000001"), ("2012", "2008_1")):
        put(tmp_path / f"VOC{year}", stem, SIZE + thing())
        put_set(tmp_path / f"VOC{year}", "trainval", stem)
        put_set(tmp_path / f"VOC{year}", "cat_trainval", f"{stem}  1")
    truth = read_voc(tmp_path, ["2007_trainval", "2012_trainval"], ["cat"])
    assert truth.image_files.tolist() == ["VOC2007/JPEGImages/000001.jpg", "VOC2012/JPEGImages/2008_1.jpg"]
    with pytest.raises(UserError, match=r"no set '2008_train'.*2007_trainval, 2012_trainval;"):
        read_voc(tmp_path, ["2008_train"])
    with pytest.raises(UserError, match="no set 'trainval'"):
        read_voc(tmp_path, ["trainval"])


def test_xml_beside_images_and_a_list_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "my data"
    root.mkdir()
    for stem in ("one", "two words", "three"):
        (root / f"{stem}.xml").write_text(f"<annotation>{thing('a & b'.replace('&', '&amp;'))}</annotation>")
        Image.new("L", (40, 30)).save(root / f"{stem.upper()}.JPeG")
    truth = read_voc(root)
    assert truth.classes == ("a & b",)
    assert truth.image_files.tolist() == ["ONE.JPeG", "THREE.JPeG", "TWO WORDS.JPeG"]
    (root / "val.txt").write_text("two words\n\none\n")
    assert read_voc(root, ["val.txt"]).image_files.tolist() == ["TWO WORDS.JPeG", "ONE.JPeG"]
    (tmp_path / "split.txt").write_text("three\n")
    monkeypatch.chdir(tmp_path)
    assert read_voc(root, ["split.txt"]).num_images == 1
    (tmp_path / "split.txt").write_text("four\n")
    with pytest.raises(UserError, match=r"split\.txt: there is no 'four\.xml' in .*my data"):
        read_voc(root, ["split.txt"])


def test_folders_that_are_sets(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "x.xml").write_text(f"<annotation>{thing()}</annotation>")
        Image.new("L", (4, 3)).save(tmp_path / split / "x.png")
    truth = read_voc(tmp_path, ["valid"])
    assert truth.image_files.tolist() == ["valid/x.png"]
    require_images(truth)


def test_the_written_file_name_is_the_second_choice(tmp_path: Path) -> None:
    put(tmp_path, "a", thing(), None, file_name=r"C:\pictures\shot.jpg")
    put(tmp_path, "b", thing(), ".jpg", file_name="a.jpg")
    Image.new("L", (4, 3)).save(tmp_path / "JPEGImages" / "shot.jpg")
    assert read_voc(tmp_path).image_files.tolist() == ["JPEGImages/shot.jpg", "JPEGImages/b.jpg"]


def test_unknown_and_ignored_classes(tmp_path: Path) -> None:
    put(tmp_path, "a", thing("cat") + thing("peron") + thing("cow") + thing("cat"))
    put(tmp_path, "b", thing("cow"))
    message = r"a\.xml: object 2: class 'peron' is not in data\.classes \(did you mean 'person'\?\); 1 such"
    with pytest.raises(UserError, match=message) as caught:
        read_voc(tmp_path, (), ["person", "cat"])
    assert "Other unknown classes: 'cow'" in str(caught.value)
    assert "data.ignore_classes" in str(caught.value)
    truth = read_voc(tmp_path, (), ["person", "cat"], ["peron", "cow"])
    assert truth.labels.tolist() == [1, 1]
    assert truth.offsets.tolist() == [0, 2, 2]
    assert read_voc(tmp_path, (), None, ["cow"]).classes == ("cat", "peron")
    with pytest.raises(UserError, match="'cat' is listed twice"):
        read_voc(tmp_path, (), ["cat", "cat", "peron", "cow"])
    with pytest.raises(UserError, match=r"both in data\.classes and data\.ignore_classes"):
        read_voc(tmp_path, (), ["cat", "peron", "cow"], ["cow"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<object>\n<name>\n</annotation>", r"a\.xml:3: not well-formed XML"),
        ("<object><bndbox/></object>", "object 1 has no <name>"),
        (thing() + "<object><name>cat</name></object>", r"object 2 \(cat\) has no <bndbox>"),
        (thing(box=(1, "x", 3, 4)), r"object 1 \(cat\).*ymin=x"),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", "ymin=None"),
        (thing(box=(1, "9" * 10_000, 3, 4)), "object 1 .cat.: a coordinate is not a number of at most 1e"),
        (thing(box=(1, "nan", 3, 4)), "object 1 .cat.: a coordinate is not a number of at most 1e"),
        (thing(box=(1, 2, "1e308", 4)), "object 1 .cat.: a coordinate is not a number of at most 1e"),
        (thing(box=(5, 2, 3, 4)), r"object 1 .cat.: the box ends before it begins: \[5, 2, 3, 4\]"),
        (thing(box=(1, "x" * 10**6, 3, 4)), "ymin=xx"),
        (thing(name="x" * 10**6), r"object 1: the name 'xx.* has 1000000 letters; 1000 are the most"),
        ("<a>" * 50_000 + "</a>" * 50_000, "elements in elements more than 100 deep"),
    ],
)
def test_malformed_files_are_named(body: str, message: str, tmp_path: Path) -> None:
    put(tmp_path, "a", body)
    with pytest.raises(UserError, match=message) as caught:
        read_voc(tmp_path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("side", ["1e308", "nan", "-4", "0.5", "9" * 10_000, "wide", "<b/>"])
def test_a_size_that_no_image_has_is_none(side: str, tmp_path: Path) -> None:
    put(tmp_path, "a", f"<size><width>{side}</width><height>30</height></size>{thing()}")
    assert read_voc(tmp_path).sizes.tolist() == [[0, 0]]


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a", thing())
    (tmp_path / "Annotations" / "b.xml").symlink_to("b.xml")
    with pytest.raises(UserError, match=r"b\.xml: cannot be read \(Too many levels of symbolic links\)"):
        read_voc(tmp_path)
    put_set(tmp_path, "long", "a", "x" * 5000)
    with pytest.raises(UserError, match=r"long\.txt: there is no 'xx.*\.\.\. in") as caught:
        read_voc(tmp_path, ["long"])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(encoding: str, tmp_path: Path) -> None:
    text = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    (tmp_path / "a.xml").write_text(text, encoding=encoding)
    with pytest.raises(UserError, match=r"a\.xml: declares a document type"):
        read_voc(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder is empty"):
        read_voc(tmp_path)
    with pytest.raises(UserError, match="the folder does not exist"):
        read_voc(tmp_path / "absent")
    put(tmp_path, "a", thing())
    put_set(tmp_path, "train", "a", "b")
    put_set(tmp_path, "none")
    with pytest.raises(UserError, match=r"there is no 'b\.xml' in"):
        read_voc(tmp_path, ["train"])
    with pytest.raises(UserError, match="name no image"):
        read_voc(tmp_path, ["none"])
    put_set(tmp_path, "train", "a", "a")
    with pytest.raises(UserError, match="'a' is in more than one"):
        read_voc(tmp_path, ["train"])


def test_missing_images_are_listed(tmp_path: Path) -> None:
    for stem in "abcde":
        put(tmp_path, stem, thing(), ".jpg" if stem == "c" else None)
    truth = read_voc(tmp_path)
    with pytest.raises(UserError, match=r"4 of 5 images are missing:\n.*a\.jpg \(wanted by .*a\.xml\)"):
        require_images(truth)


def test_no_objects_at_all(tmp_path: Path) -> None:
    put(tmp_path, "a", SIZE)
    truth = read_voc(tmp_path)
    assert truth.boxes.shape == (0, 4)
    assert truth.offsets.tolist() == [0, 0]
    assert truth.image_index().dtype == np.int64


def test_a_folder_that_is_not_there_has_no_images(tmp_path: Path) -> None:
    assert not has_images(tmp_path / "absent")
    assert not has_images(tmp_path)
    (tmp_path / "a.JPG").touch()
    assert has_images(tmp_path)


def test_what_a_folder_holds_is_listed(tmp_path: Path) -> None:
    assert contents_of(tmp_path / "absent") == "the folder does not exist"
    assert contents_of(tmp_path) == "the folder is empty"
    for name in "ba":
        (tmp_path / name).touch()
    assert contents_of(tmp_path) == "it holds a, b"


@pytest.mark.parametrize(("length", "shown"), [(30, "x" * 30), (31, "x" * 27 + "...")])
def test_what_is_no_number_is_shown_in_thirty_letters(length: int, shown: str, tmp_path: Path) -> None:
    put(tmp_path, "a", SIZE + thing("cat", ("x" * length, 2, 3, 4)))
    with pytest.raises(UserError) as told:
        read_voc(tmp_path)
    assert f"found xmin={shown}, ymin=" in str(told.value)
