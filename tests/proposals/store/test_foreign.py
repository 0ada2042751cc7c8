"""Files as other tools write them, all with the same boxes."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError
from detkit.proposals.proposals import ranked
from detkit.proposals.store.aligned import aligned_store
from detkit.proposals.store.foreign import ForeignProposals, Order, corners_of, proposals_of
from detkit.proposals.store.foreign_files import read_proposal_json
from detkit.proposals.store.store import Origin, ProposalStore, write_store

BOXES = [np.array([[0, 10, 190, 90], [20, 30, 50, 70]], np.float32), np.array([[5, 6, 60, 180]], np.float32)]
SCORES = [np.array([0.9, 0.25], np.float32), np.array([0.5], np.float32)]


@pytest.fixture(autouse=True)
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))


def dataset() -> AnnotationSet:
    """Two images, 200 x 100 and 80 x 190."""
    assembly = Assembly("voc")
    assembly.add_image("JPEGImages/000005.jpg", (100, 200), "test")
    assembly.add_image("JPEGImages/000007.jpg", (190, 80), "test")
    built = assembly.build("/data/VOC2007", ("thing",), [], [1])
    return replace(built, image_ids=np.array([139, 285]))


def read(file: Path, truth: AnnotationSet | None = None) -> list[tuple[list[Any], list[float]]]:
    found = aligned_store(file, dataset() if truth is None else truth)
    store = ProposalStore.open(found.path)
    return [(store(p).boxes.tolist(), store(p).scores.tolist()) for p in found.positions.tolist()]


def wanted(scores: bool = True) -> list[tuple[list[Any], list[float]]]:
    ranks = [[1.0, 0.5], [1.0]]
    return [
        (boxes.tolist(), score.tolist() if scores else rank)
        for boxes, score, rank in zip(BOXES, SCORES, ranks, strict=True)
    ]


def cell(items: list[Any]) -> NDArray[np.object_]:
    cells = np.empty((1, len(items)), object)
    cells[0] = items
    return cells


@pytest.mark.parametrize("order", [[1, 0, 3, 2], [0, 1, 2, 3]])
def test_selective_search_mat(tmp_path: Path, order: list[int]) -> None:
    """[y1 x1 y2 x2] from 1, as the authors write it, or turned, as some copies are."""
    boxes = [np.add(b, [1, 1, 0, 0])[:, order].astype(np.uint16) for b in BOXES]
    names = np.array([["000005"], ["000007"]], object)
    savemat(tmp_path / "ss.mat", {"boxes": cell(boxes), "images": names})
    assert read(tmp_path / "ss.mat") == wanted(scores=False)


def test_edge_boxes_mat(tmp_path: Path) -> None:
    boxes = [
        np.column_stack([b[:, :2] + 1, b[:, 2:] - b[:, :2], s]) for b, s in zip(BOXES, SCORES, strict=True)
    ]
    savemat(tmp_path / "eb.mat", {"bbs": cell(boxes)})
    assert read(tmp_path / "eb.mat") == wanted()


def test_mat_with_scores_and_an_image_without_boxes(tmp_path: Path) -> None:
    boxes = [BOXES[0][:, [1, 0, 3, 2]] + [1, 1, 0, 0], np.zeros((0, 4))]
    content = {
        "boxes": cell(boxes),
        "scores": cell([SCORES[0], np.zeros(0)]),
        "images": cell(["000005", "000007"]),
    }
    savemat(tmp_path / "x.mat", content)
    assert read(tmp_path / "x.mat") == [wanted()[0], ([], [])]


def coco_results() -> list[dict[str, Any]]:
    ids = dataset().image_ids.tolist()
    return [
        {"image_id": ids[i], "category_id": 1, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]], "score": score}
        for i in (1, 0)
        for b, score in zip(BOXES[i].tolist(), SCORES[i].tolist(), strict=True)
    ]


@pytest.mark.parametrize("quick", [True, False])
def test_coco_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    if not quick:
        reader = "detkit.proposals.store.foreign_files.read_plain_results"
        monkeypatch.setattr(reader, lambda file: None)
    (tmp_path / "x.json").write_text(json.dumps(coco_results()), encoding="utf-8")
    assert read(tmp_path / "x.json") == wanted()
    (tmp_path / "y.json").write_text(json.dumps(coco_results()[:1]), encoding="utf-8")
    assert read(tmp_path / "y.json") == [([], []), wanted()[1]]
    assert aligned_store(tmp_path / "y.json", dataset()).unlisted == 1


@pytest.mark.parametrize("name", ["x.pkl", "x.PKL", "x.pickle"])
def test_pickles_are_refused_unread(tmp_path: Path, name: str) -> None:
    """A pickle runs what it names; this one would leave a file."""

    class Harm:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(tmp_path / 'harm')!r}, 'w')",)

    (tmp_path / name).write_bytes(pickle.dumps([Harm()]))
    with pytest.raises(
        UserError, match=r"x\..*: pickles are not read, because they can run code; .*COCO res"
    ):
        read(tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": 1}, "has no cell boxes, bbs, proposals; it holds 'x'"),
        ({"boxes": np.zeros((3, 4))}, "must be a cell with the boxes of each image"),
        ({"boxes": cell([np.zeros((3, 3)), np.zeros((3, 4))])}, r"boxes\{1\} must be \(P, 4\)"),
        ({"boxes": cell([np.ones((3, 5)), np.ones((3, 4))])}, "all must be alike"),
        ({"boxes": cell([np.ones((1, 4))]), "images": cell(["a", "b"])}, "of 1 images and names of 2"),
        ({"boxes": cell([np.ones((1, 4))]), "scores": cell([np.ones(2)])}, "a number for each box"),
        ({"boxes": cell([np.full((1, 4), np.nan)] * 2)}, r"x.mat: image 1: .*found the box \[nan"),
        ({"boxes": cell([np.full((1, 4), 1e308)] * 2)}, "coordinates up to 1e\\+09"),
        ({"boxes": cell([np.full((1, 4), -(2**63))] * 2)}, "coordinates up to 1e\\+09"),
        ({"boxes": cell([np.ones((1, 4))]), "scores": cell([np.array([np.nan])])}, "with the score nan"),
        ({"boxes": cell([np.ones((1, 4))]), "scores": cell(["a"])}, "a number for each box"),
        ({"boxes": cell([np.ones((1, 4))]), "scores": np.ones(1)}, "a number for each box"),
        ({"boxes": cell([np.ones((1, 4))]), "images": np.array([1.5])}, "image 1 must be a text"),
        (
            {"boxes": cell([np.ones((1, 4))]), "images": cell([np.ones(2)])},
            "image 1 must be a text",
        ),
        ({"boxes": cell([np.full((1, 4), 900)] * 2)}, "read as matlab_yxyx and as matlab_xyxy"),
        (
            {"boxes": cell([np.ones((1, 4))])},
            "holds boxes of 1 images and does not say which; the dataset has 2",
        ),
        (
            {"boxes": cell([np.ones((1, 4))] * 2), "images": cell(["139", "140"])},
            "no proposals for 1 of 2 images: JPEGImages/000007.jpg",
        ),
    ],
)
def test_wrong_mat(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    savemat(tmp_path / "x.mat", content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "x.mat")


@pytest.mark.parametrize("ids", [np.array([139.0, 285.0]), cell([139, 285.0]), np.array(["139", "285"])])
def test_mat_with_ids(tmp_path: Path, ids: NDArray[Any]) -> None:
    boxes = [np.add(b, [1, 1, 0, 0])[:, [1, 0, 3, 2]] for b in BOXES]
    savemat(tmp_path / "x.mat", {"boxes": cell(boxes), "ids": ids})
    assert read(tmp_path / "x.mat") == wanted(scores=False)


def test_a_box_that_ends_before_it_begins_is_one_also_where_the_size_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        '[{"image_id": 139, "bbox": [9, 9, -5, 4], "score": 1}]', encoding="utf-8"
    )
    for truth in (dataset(), replace(dataset(), sizes=np.zeros((2, 2), np.int32))):
        with pytest.raises(UserError, match=r"box \[9.0, 9.0, -5.0, 4.0\] of .*000005.jpg is no box"):
            read(tmp_path / "x.json", truth)


def test_a_store_of_images_of_another_size(tmp_path: Path) -> None:
    names = dataset().image_files.tolist()
    proposals = [ranked(boxes) for boxes in BOXES]
    write_store(tmp_path / "x.safetensors", Origin("mine", {}), names, proposals.__getitem__)
    assert read(tmp_path / "x.safetensors") == wanted(scores=False)
    halved = replace(dataset(), sizes=dataset().sizes // 2)
    with pytest.raises(
        UserError, match=r"190.0, 90.0\] of .*000005.jpg reaches beyond the image of 50 x 100"
    ):
        read(tmp_path / "x.safetensors", halved)
    unknown = replace(dataset(), sizes=np.zeros((2, 2), np.int32))
    assert read(tmp_path / "x.safetensors", unknown) == wanted(scores=False)


GOOD = '{"image_id": 139, "bbox": [1, 2, 3, 4], "score": 1}'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("139", "true", r"Expected `int \| str`, got `bool` - at `\$\[1\].image_id`"),
        ("139", "139.5", "got `float`"),
        ("139", "9" * 10_000, "out of range - at"),
        ("[1, 2, 3, 4]", "[1, 2, 3]", r"length 4 - at `\$\[1\].bbox`"),
        ("2, 3", '"2", 3', "Expected `float`, got `str`"),
        ("2, 3", "1e999, 3", "out of range"),
        ("2, 3", "1e300, 3", "coordinates up to 1e"),
        ("1}", "true}", "Expected `float`, got `bool`"),
        ("1}", '"1"}', "Expected `float`, got `str`"),
        ("1}", "1e300}", "with the score 1e"),
        ("1}", "NaN}", r"x.json:1:104: not valid JSON"),
        ("1}", '1, "more": ' + "[" * 10**5, "not valid JSON|cannot be read"),
        ("{", '["image_id",', "Expected `object`, got `array`|not valid JSON"),
    ],
)
def test_wrong_json_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "x.json").write_text(f"[{GOOD}, {GOOD.replace(old, new, 1)}]", encoding="utf-8")
    with pytest.raises(UserError, match=message) as raised:
        read(tmp_path / "x.json")
    assert len(str(raised.value)) < 500


def test_long_names_are_no_burden(tmp_path: Path) -> None:
    """As an array of text they would be a gigabyte."""
    names = [f"{number}{'x' * 10**5}" for number in range(50)]
    records = [{"image_id": name, "bbox": [1, 2, 3, 4], "score": 1} for name in names]
    (tmp_path / "x.json").write_text(json.dumps(records * 50), encoding="utf-8")
    found = read_proposal_json(tmp_path / "x.json")
    assert found.names == names
    assert [len(boxes) for boxes in found.boxes] == [50] * 50


def test_files_that_are_no_mat(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF")
    with pytest.raises(UserError, match=r"version 7\.3"):
        read(tmp_path / "x.mat")
    (tmp_path / "x.mat").write_bytes(b"abc" * 100)
    with pytest.raises(UserError, match="not a MATLAB file"):
        read(tmp_path / "x.mat")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "y.mat")


def test_other_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"a list of \{image_id, bbox, score\}"):
        read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('[{"image_id": 139, "bbox": [1, 2, 3, 4]}]', encoding="utf-8")
    with pytest.raises(UserError, match=r"missing required field `score` - at `\$\[0\]`"):
        read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "utf-8")
    with pytest.raises(UserError, match="no proposals for 2 of 2 images"):
        read(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"x\.txt: proposals are read from .safetensors"):
        read(tmp_path / "x.txt")


def test_boxes_are_clipped_and_those_without_area_dropped(tmp_path: Path) -> None:
    boxes = [[-1, -1, 202, 102], [5, 5, 0, 4], [1, 1, 1, 1]]
    records = [
        {"image_id": 139, "bbox": box, "score": score}
        for box, score in zip(boxes, (0.1, 0.9, 0.5), strict=True)
    ]
    (tmp_path / "x.json").write_text(json.dumps(records), encoding="utf-8")
    first, second = read(tmp_path / "x.json")
    assert first == ([[1, 1, 2, 2], [0, 0, 200, 100]], [0.5, np.float32(0.1)])
    assert second == ([], [])


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.json").write_text(json.dumps(coco_results()), encoding="utf-8")
    first = aligned_store(tmp_path / "x.json", dataset())
    monkeypatch.setattr("detkit.proposals.store.aligned._READERS", {".json": None})
    assert aligned_store(tmp_path / "x.json", dataset()).path == first.path
    monkeypatch.undo()
    other = replace(dataset(), sizes=np.array([[400, 400], [400, 400]], np.int32))
    assert aligned_store(tmp_path / "x.json", other).path != first.path


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((30, 20), [[10, 25, 20, 30], [0, 0, 5, 5]]),
        ((0, 0), [[10, 25, 40, 50], [-5, 0, 5, 5], [25, 0, 30, 9]]),  # not known: nothing is cut off
        ((30, 0), [[10, 25, 40, 50], [-5, 0, 5, 5], [25, 0, 30, 9]]),
    ],
)
def test_boxes_are_cut_off_at_the_image_where_its_size_is_known(
    size: tuple[int, int], boxes: list[list[float]]
) -> None:
    given = np.array([[-5, 0, 10, 5], [25, 0, 5, 9], [10, 25, 30, 25], [3, 3, 0, 4]])
    found = ForeignProposals(None, [given], [np.array([0.2, 0.1, 0.9, 0.8])], ("xywh",))
    assert proposals_of(found, 0, "xywh", size).boxes.tolist() == boxes


def test_boxes_without_scores_keep_their_order() -> None:
    found = ForeignProposals(None, [np.array([[1, 1, 2, 2], [0, 0, 0, 1], [5, 5, 1, 1]])], [None], ("xywh",))
    made = proposals_of(found, 0, "xywh", (0, 0))
    assert made.boxes.tolist() == [[1, 1, 3, 3], [5, 5, 6, 6]]
    assert made.scores.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("order", "corners"),
    [
        ("xywh", [1, 2, 4, 6]),
        ("matlab_xyxy", [0, 1, 3, 4]),
        ("matlab_yxyx", [1, 0, 4, 3]),
        ("matlab_xywh", [0, 1, 3, 5]),
    ],
)
def test_numbers_of_a_box_by_their_order(order: Order, corners: list[float]) -> None:
    assert corners_of(np.array([[1.0, 2.0, 3.0, 4.0]]), order).tolist() == [corners]


def test_wrong_json_in_which_the_other_reader_finds_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detkit.proposals.store.foreign_files.read_json", lambda file: None)
    (tmp_path / "x.json").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match=r"x.json: not valid JSON \("):
        read(tmp_path / "x.json")
