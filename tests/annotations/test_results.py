from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.assembly import Assembly
from detkit.annotations.coco import read_coco
from detkit.annotations.coco_results import (
    positions,
    read_coco_results,
    write_coco_results,
)
from detkit.annotations.comp4 import read_comp4, write_comp4
from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, BoxFormat, DetectionSet
from detkit.annotations.writers import write_coco
from detkit.errors import UserError


def three_images(box_format: BoxFormat) -> AnnotationSet:
    assembly = Assembly(box_format)
    for name in ("a b", "000002", "c"):
        assembly.add_image(f"JPEGImages/{name}.jpg", (300, 400), "x")
    return assembly.build(".", ["cat", "black_cat", "dog"], [], [18, 3, 90])


def detections(box_format: BoxFormat, count: int = 50) -> DetectionSet:
    rng = np.random.default_rng(0)
    return DetectionSet(
        rng.integers(0, 3, count),
        rng.integers(0, 3, count).astype(np.int32),
        rng.random(count),
        rng.random((count, 4)) * 100 + 1,
        box_format,
    )


@pytest.mark.parametrize("count", [0, 50])
def test_coco_results_round_trip_exactly(count: int, tmp_path: Path) -> None:
    truth, found = three_images("coco"), detections("coco", count)
    file = tmp_path / "new" / "results.json"
    write_coco_results(file, found, truth)
    records = json.loads(file.read_bytes())
    if count:
        assert set(records[0]) == {"image_id", "category_id", "bbox", "score"}
        assert records[0]["category_id"] in (18, 3, 90)
    read = read_coco_results(file, truth)
    for key in ("images", "labels", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(read, key), getattr(found, key))
        assert getattr(read, key).dtype == getattr(found, key).dtype
    assert [p.name for p in file.parent.iterdir()] == ["results.json"]


def test_coco_results_of_a_voc_set(tmp_path: Path) -> None:
    truth, found = three_images("voc"), detections("voc")
    write_coco_results(tmp_path / "r.json", found, truth)
    first = json.loads((tmp_path / "r.json").read_bytes())[0]["bbox"]
    x1, y1, x2, y2 = found.boxes[0]
    np.testing.assert_allclose(first, [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1])
    read = read_coco_results(tmp_path / "r.json", truth)
    assert read.box_format == "voc"
    np.testing.assert_allclose(read.boxes, found.boxes, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image_id": 77},
            r"1 detection whose image_id the annotations lack: 77 \(results\[1\]\)",
        ),
        ({"category_id": 4}, r"category_id the annotations lack: 4 .*the annotations have 18, 3, 90"),
        ({"bbox": [1, 2, 3]}, r"results\[1\] .*bbox must be 4 numbers"),
        ({"score": "high"}, r"results\[1\]: score must be a number; found 'high'"),
        ({"score": [0.5]}, r"results\[1\]: score must be a number; found \[0.5\]"),
        ({"score": "0.5"}, r"results\[1\]: score must be a number; found '0.5'"),
        ({"bbox": [1, 2, 3, 1e10]}, r"results\[1\] .*bbox must be 4 numbers .* of at most 1e\+09"),
        ({"bbox": ["1", "2", "3", "4"]}, r"results\[1\] .*bbox must be 4 numbers"),
        ({"image_id": [1]}, r"lack: \[1\] \(results\[1\]\)"),
        ({"image_id": "x" * 10**6}, "lack: 'xx"),
        ({"score": None}, r"results\[1\]: score must be a number; found None"),
    ],
)
def test_wrong_coco_results_are_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    good = {"image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}
    file = tmp_path / "r.json"
    file.write_text(json.dumps([good, good | change]))
    with pytest.raises(UserError, match=message):
        read_coco_results(file, three_images("coco"))
    file.write_text(json.dumps({"annotations": []}))
    with pytest.raises(UserError, match="a list of detections; found dict"):
        read_coco_results(file, three_images("coco"))
    file.write_text(json.dumps([{"image_id": 1}]))
    with pytest.raises(UserError, match=r"results\[0\] has no 'category_id'"):
        read_coco_results(file, three_images("coco"))


@pytest.mark.parametrize("box_format", ["voc", "coco"])
def test_comp4_round_trip(box_format: BoxFormat, tmp_path: Path) -> None:
    truth, found = three_images(box_format), detections(box_format)
    files = write_comp4(tmp_path, found, truth, "val")
    assert [f.name for f in files] == [f"comp4_det_val_{name}.txt" for name in truth.classes]
    read = read_comp4(tmp_path, truth)
    order = np.argsort(found.labels, kind="stable")
    np.testing.assert_array_equal(read.images, found.images[order])
    np.testing.assert_array_equal(read.labels, found.labels[order])
    np.testing.assert_allclose(read.scores, found.scores[order], atol=5.1e-7)
    np.testing.assert_allclose(
        to_corners(read.boxes, box_format), to_corners(found.boxes[order], box_format), atol=0.051
    )
    again = read_comp4(files, truth)
    np.testing.assert_array_equal(again.boxes, read.boxes)


def test_comp4_lines(tmp_path: Path) -> None:
    found = DetectionSet(
        np.array([0]),
        np.array([2], dtype=np.int32),
        np.array([0.25]),
        np.array([[0.0, 1.0, 10.0, 20.0]]),
        "coco",
    )
    write_comp4(tmp_path, found, three_images("coco"))
    assert (tmp_path / "comp4_det_test_dog.txt").read_text() == "a b 0.250000 1.0 2.0 10.0 21.0\n"
    assert (tmp_path / "comp4_det_test_cat.txt").read_text() == ""


def test_the_longest_class_name_owns_a_file(tmp_path: Path) -> None:
    (tmp_path / "comp4_det_test_black_cat.txt").write_text("c 0.5 1 2 3 4\n")
    assert read_comp4(tmp_path, three_images("voc")).labels.tolist() == [1]


def test_wrong_comp4_files_are_named(tmp_path: Path) -> None:
    truth = three_images("voc")
    with pytest.raises(UserError, match="no file is called comp4_det_"):
        read_comp4(tmp_path, truth)
    file = tmp_path / "comp4_det_test_dog.txt"
    for text, message in (
        ("c 0.5 1 2 3 4\nc 0.5 1 2 3", r"dog\.txt:2: expected `image score"),
        ("c 0.5 1 2 x 4", r"dog\.txt:1: expected `image score"),
        ("d 0.5 1 2 3 4", r"dog\.txt:1: the annotations have no image 'd'"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_comp4(tmp_path, truth)
    for text, message in (
        ("c nan 1 2 3 4", "a finite score and 4 coordinates"),
        ("c inf 1 2 3 4", "a finite score and 4 coordinates"),
        ("c 0.5 1 2 nan 4", "a finite score and 4 coordinates"),
        ("c 0.5 1 2 3 -1e308", "a finite score and 4 coordinates"),
        ("x" * 10**6 + " 0.5 1 2 3 4", "no image 'xx"),
        ("y" * 10**6, "expected `image score x1 y1 x2 y2`; found 'yy"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=rf"dog\.txt:1: .*{message}") as caught:
            read_comp4(tmp_path, truth)
        assert len(str(caught.value)) < 400
    file.write_bytes("c 0.5 1 2 3 4\nBär".encode("latin-1"))
    with pytest.raises(UserError, match=r"dog\.txt: not a text file in UTF-8 \(byte 15\)"):
        read_comp4(tmp_path, truth)
    file.write_text("")
    other = tmp_path / "comp4_det_val_dog.txt"
    other.write_text("")
    with pytest.raises(UserError, match="'dog' has two files"):
        read_comp4(tmp_path, truth)
    other.rename(tmp_path / "comp4_det_val_cow.txt")
    with pytest.raises(UserError, match="'val_cow' does not end in the name of a class"):
        read_comp4(tmp_path, truth)


def test_mistakes_name_the_file_that_has_them(tmp_path: Path) -> None:
    truth, found = tmp_path / "annotations" / "instances_val.json", tmp_path / "found.json"
    truth.parent.mkdir()
    found.write_text("[" + " " * (1 << 20) + "{]")
    truth.write_text('{"images": 3}')
    with pytest.raises(UserError, match=r"instances_val\.json: 'images' must be a list"):
        read_coco(tmp_path, truth)
    write_coco(tmp_path, "val", three_images("coco"))
    with pytest.raises(UserError, match=r"found\.json:1:1048579: not valid JSON"):
        read_coco_results(found, read_coco(tmp_path, truth))


@pytest.mark.parametrize("spread", [1, 3, 10**9, 10**17])
@pytest.mark.parametrize("seed", range(5))
def test_ids_are_found_where_a_dictionary_finds_them(spread: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = rng.permutation(30)[:20] * spread - 5
    ids = rng.choice(np.concatenate([known, known + 1, [-(2**62), 2**62]]), 50)
    table = {value: place for place, value in enumerate(known.tolist())}
    assert positions(ids, known).tolist() == [table.get(value, -1) for value in ids.tolist()]


@pytest.mark.parametrize(
    "known", [[2**63 - 1], [-(2**63)], [-(2**63), 2**63 - 1], [2**63 - 1, 2**63 - 3], [-(2**63), 0]]
)
def test_ids_at_the_ends_of_64_bits_are_found(known: list[int]) -> None:
    ids = np.array([2**63 - 1, 2**63 - 2, 0, -(2**63), 1 - 2**63])
    table = {value: place for place, value in enumerate(known)}
    assert positions(ids, np.array(known)).tolist() == [table.get(value, -1) for value in ids.tolist()]


def test_without_known_ids_none_is_found() -> None:
    assert positions(np.array([1, 2]), np.array([], dtype=np.int64)).tolist() == [-1, -1]
    assert positions(np.array([], dtype=np.int64), np.array([3])).tolist() == []


ODD = (
    "../../../../escaped",
    "a/b",
    "b",
    "..",
    "",
    "\x1b[31m",
    "\ud800",
    "nul\0",
    "a\nb",
    "x" * 500,
    "dog_",
    "Dog_",
    "%u",
)


def odd_set(classes: tuple[str, ...], names: tuple[str, ...] = ("1", "2", "3")) -> AnnotationSet:
    assembly = Assembly("voc")
    for name in names:
        assembly.add_image(f"{name}.jpg", (300, 400), "x")
    return assembly.build(".", classes, [], range(len(classes)))


def one_of_each(num_classes: int, num_images: int) -> DetectionSet:
    rows = np.arange(num_classes)
    boxes = np.tile([1.0, 2.0, 30.0, 40.0], (num_classes, 1))
    return DetectionSet(rows % num_images, rows.astype(np.int32), rows / num_classes, boxes, "voc")


def test_comp4_files_of_any_classes_stay_in_the_folder_and_are_read_again(tmp_path: Path) -> None:
    truth, folder = odd_set(ODD), tmp_path / "a" / "b" / "comp4"
    files = write_comp4(folder, one_of_each(len(ODD), 3), truth)
    assert sorted(folder.iterdir()) == sorted(files)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.parent != folder] == []
    assert len({file.name.casefold() for file in files}) == len(ODD)
    read = read_comp4(folder, truth)
    assert read.labels.tolist() == list(range(len(ODD)))
    assert read.images.tolist() == [label % 3 for label in range(len(ODD))]


def test_comp4_files_of_other_programs_have_the_classes_as_they_are(tmp_path: Path) -> None:
    truth = odd_set(("Cat", "cat", "%u", "traffic light"))
    for name in truth.classes:
        (tmp_path / f"comp4_det_test_{name}.txt").write_text("1 0.5 1 2 3 4\n")
    assert read_comp4(tmp_path, truth).labels.tolist() == [0, 1, 2, 3]


def test_comp4_lines_with_any_image_names(tmp_path: Path) -> None:
    truth = odd_set(("dog",), ("a  b", "a\nb", " a", "\udcff", "a b"))
    found = DetectionSet(np.arange(5), np.zeros(5, np.int32), np.ones(5), np.ones((5, 4)), "voc")
    write_comp4(tmp_path, found, truth)
    assert read_comp4(tmp_path, truth).images.tolist() == [0, 1, 2, 3, 4]


def test_a_missing_comp4_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = odd_set(("dog", "cat", "cow"))
    files = write_comp4(tmp_path, one_of_each(3, 3), truth)
    read_comp4(tmp_path, truth)
    assert capsys.readouterr().err == ""
    files[1].unlink()
    assert read_comp4(tmp_path, truth).labels.tolist() == [0, 2]
    assert "no comp4_det_<set>_<class>.txt for 'cat': nothing is found" in capsys.readouterr().err


def test_results_that_are_not_there_or_no_list_are_named(tmp_path: Path) -> None:
    truth = three_images("coco")
    with pytest.raises(UserError) as caught:
        read_coco_results(tmp_path / "absent.json", truth)
    assert str(caught.value).startswith(f"{tmp_path / 'absent.json'}: ")
    (tmp_path / "a.json").write_text('{"results": []}')
    with pytest.raises(UserError) as caught:
        read_coco_results(tmp_path / "a.json", truth)
    assert str(caught.value) == f"{tmp_path / 'a.json'}: COCO results are a list of detections; found dict"


def test_ids_that_the_annotations_lack_are_counted(tmp_path: Path) -> None:
    truth = three_images("coco")
    for places, said in (
        ([(1, 3), (7, 3)], "1 detection whose image_id the annotations lack: 7 (results[1])"),
        (
            [(9, 3), (1, 3), (8, 3), (7, 3), (6, 3)],
            "4 detections whose image_id the annotations lack: 9 (results[0]), 8 (results[2]), "
            "7 (results[3])",
        ),
        ([(1, 4)], "1 detection whose category_id the annotations lack: 4 (results[0])"),
    ):
        records = [{"image_id": i, "category_id": c, "bbox": [1, 2, 3, 4], "score": 0.5} for i, c in places]
        (tmp_path / "a.json").write_text(json.dumps(records))
        with pytest.raises(UserError) as caught:
            read_coco_results(tmp_path / "a.json", truth)
        known = "18, 3, 90" if "category" in said else ", ".join(map(str, truth.image_ids.tolist()))
        assert str(caught.value) == f"{tmp_path / 'a.json'}: {said}; the annotations have {known}"


def test_empty_lines_of_comp4_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "comp4_det_val_dog.txt").write_text("\nc 0.5 1 2 3 4\n  \n000002 0.25 5 6 7 8\n\n")
    found = read_comp4(tmp_path, three_images("voc"))
    assert found.images.tolist() == [2, 1]
    assert found.scores.tolist() == [0.5, 0.25]
    assert found.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.labels.tolist() == [2, 2]
