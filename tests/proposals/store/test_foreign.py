"""Files as other tools write them, all with the same boxes."""

from __future__ import annotations

import json
import pickle
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.errors import UserError
from detkit.proposals.store.aligned import aligned_store
from detkit.proposals.store.foreign_unpickler import read_pickle
from detkit.proposals.store.store import ProposalStore

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


@pytest.mark.parametrize("scan", [True, False])
def test_coco_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: bool) -> None:
    monkeypatch.setattr("detkit.proposals.store.foreign_json.WORTH_SCANNING", 0 if scan else 1 << 30)
    (tmp_path / "x.json").write_text(json.dumps(coco_results()), encoding="utf-8")
    assert read(tmp_path / "x.json") == wanted()
    (tmp_path / "y.json").write_text(json.dumps(coco_results()[:1]), encoding="utf-8")
    assert read(tmp_path / "y.json") == [([], []), wanted()[1]]
    assert aligned_store(tmp_path / "y.json", dataset()).unlisted == 1


def d2_dict() -> dict[str, Any]:
    return {"ids": [285, 139], "boxes": BOXES[::-1], "objectness_logits": SCORES[::-1]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        d2_dict(),
        {"indexes": np.array([285, 139]), "boxes": BOXES[::-1], "scores": SCORES[::-1], "cfg": "text"},
        OrderedDict(d2_dict(), boxes=[np.asfortranarray(b) for b in BOXES[::-1]]),
        {**d2_dict(), "bbox_mode": 1,
         "boxes": [np.column_stack([b[:, :2], b[:, 2:] - b[:, :2]]) for b in BOXES[::-1]]},
        {"JPEGImages/000007.jpg": {"bboxes": BOXES[1], "scores": SCORES[1]},
         "JPEGImages/000005.jpg": {"bboxes": BOXES[0], "scores": SCORES[0]}},
        [np.column_stack([b, s]) for b, s in zip(BOXES, SCORES, strict=True)],
        [np.column_stack([b, s]).astype(">f8") for b, s in zip(BOXES, SCORES, strict=True)],
    ],
)  # fmt: skip
def test_pickles(tmp_path: Path, content: Any, protocol: int) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    assert read(tmp_path / "x.pkl") == wanted()


@pytest.fixture
def their_classes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stand-ins for detectron2 and mmengine, whose pickles name their classes."""
    module = ModuleType("their")
    exec(
        "import enum\n"
        "class BoxMode(enum.IntEnum):\n    XYXY_ABS = 0\n    XYWH_ABS = 1\n    XYWHA_ABS = 4\n"
        "class InstanceData:\n    pass\n",
        module.__dict__,
    )
    for name, part in (
        ("detectron2.structures.boxes", module.BoxMode),
        ("mmengine.structures.instance_data", module.InstanceData),
    ):
        for parent in (name.split(".")[0], name.rsplit(".", 1)[0]):
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        made = ModuleType(name)
        setattr(made, part.__name__, part)
        part.__module__ = name
        monkeypatch.setitem(sys.modules, name, made)
    return module


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_with_their_classes(tmp_path: Path, their_classes: ModuleType, protocol: int) -> None:
    (tmp_path / "d2.pkl").write_bytes(
        pickle.dumps({**d2_dict(), "bbox_mode": their_classes.BoxMode.XYXY_ABS}, protocol)
    )
    records = {}
    for name, boxes, scores in zip(("train/000005.jpg", "train/000007.jpg"), BOXES, SCORES, strict=True):
        record = their_classes.InstanceData()
        record._data_fields = {"bboxes", "scores"}
        record.bboxes, record.scores = boxes, scores
        records[name] = record
    (tmp_path / "mm.pkl").write_bytes(pickle.dumps(records, protocol))
    (tmp_path / "turned.pkl").write_bytes(
        pickle.dumps({**d2_dict(), "bbox_mode": their_classes.BoxMode.XYWHA_ABS}, protocol)
    )
    for name in ("detectron2.structures.boxes", "mmengine.structures.instance_data"):
        sys.modules.pop(name)
    assert read(tmp_path / "d2.pkl") == wanted()
    assert read(tmp_path / "mm.pkl") == wanted()
    with pytest.raises(UserError, match="bbox_mode is 4"):
        read(tmp_path / "turned.pkl")


def test_object_arrays_of_boxes(tmp_path: Path) -> None:
    boxes = np.empty(2, object)
    boxes[:] = [np.column_stack([b, s]) for b, s in zip(BOXES, SCORES, strict=True)]
    for protocol in (2, 5):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(boxes, protocol))
        assert read(tmp_path / "x.pkl") == wanted()


class Harm:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_no_code_of_a_pickle_is_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "x.pkl", tmp_path / "harm"
    for harm in (
        Harm(exec, f"open({str(trace)!r}, 'w')"),
        Harm(eval, "1"),
        Harm(getattr, "", "join"),
        Harm(np.fromfile, str(file)),
        Harm(np.load, str(file)),
    ):
        file.write_bytes(pickle.dumps([harm]))
        with pytest.raises(UserError, match=r"the pickle asks for .*no code of a pickle is run"):
            read(file)
    assert not trace.exists()


def test_types_of_a_pickle_are_not_believed(tmp_path: Path) -> None:
    """An array of pointers given as bytes would be read from wherever they point to."""
    array = np.array([[1.0, 2, 3, 4]])
    reconstruct, arguments, state = array.__reduce__()[:3]
    file = tmp_path / "x.pkl"
    for dtype in (np.dtype("O"), np.dtype([("a", "f8")]), np.dtype("U2")):

        class Fake:
            def __reduce__(self, dtype: Any = dtype) -> Any:
                return reconstruct, arguments, (1, (1, 1), dtype, False, b"\x01" * 8)

        file.write_bytes(pickle.dumps([Fake()]))
        with pytest.raises(UserError, match="where numbers were expected"):
            read(file)
    assert len(state) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "holds int, not proposals"),
        ({"a.jpg": "text"}, "numbers were expected"),
        ({"a.jpg": {"boxes": 1}}, "an entry has no bboxes"),
        ([np.zeros((2, 7))], r"must be \(P, 4\) numbers, found \(2, 7\)"),
        ([np.zeros((2, 4))], "holds boxes of 1 images and does not say which; the dataset has 2"),
        ({**d2_dict(), "ids": [1]}, "holds 1 ids, boxes of 2 images"),
        ({**d2_dict(), "boxes": BOXES}, "entry 0 has 2 boxes and 1 scores"),
        ({**d2_dict(), "ids": [139, 140]}, "no proposals for 1 of 2 images: JPEGImages/000007.jpg"),
        ({**d2_dict(), "ids": [139, 285]}, "reaches beyond the image of 200 x 100"),
    ],
)
def test_wrong_pickles(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message):
        read(tmp_path / "x.pkl")


def test_damaged_pickles(tmp_path: Path) -> None:
    whole = pickle.dumps(d2_dict())
    for content in (b"", b"abc", whole[: len(whole) // 2]):
        (tmp_path / "x.pkl").write_bytes(content)
        with pytest.raises(UserError, match="not a pickle that can be read"):
            read_pickle(tmp_path / "x.pkl")
    with pytest.raises(UserError, match="cannot be read"):
        read_pickle(tmp_path / "y.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": 1}, "has no cell boxes, bbs, proposals; it holds x"),
        ({"boxes": np.zeros((3, 4))}, "must be a cell with the boxes of each image"),
        ({"boxes": cell([np.zeros((3, 3)), np.zeros((3, 4))])}, r"boxes\{1\} must be \(P, 4\)"),
        ({"boxes": cell([np.ones((3, 5)), np.ones((3, 4))])}, "all must be alike"),
        ({"boxes": cell([np.ones((1, 4))]), "images": cell(["a", "b"])}, "of 1 images and names of 2"),
        ({"boxes": cell([np.ones((1, 4))]), "scores": cell([np.ones(2)])}, "a number for each box"),
        ({"boxes": cell([np.full((1, 4), 900)] * 2)}, "read as matlab_yxyx and as matlab_xyxy"),
    ],
)
def test_wrong_mat(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    savemat(tmp_path / "x.mat", content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "x.mat")


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
    with pytest.raises(UserError, match="has no 'score'"):
        read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', encoding="utf-8")
    with pytest.raises(UserError, match="no proposals for 2 of 2 images"):
        read(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"proposals are read from .safetensors"):
        read(tmp_path / "x.txt")


def test_boxes_are_clipped_and_those_without_area_dropped(tmp_path: Path) -> None:
    boxes = [np.array([[-1, -1, 201, 101], [5, 5, 5, 9], [1, 1, 2, 2]]), np.zeros((0, 4))]
    scores = [np.array([0.1, 0.9, 0.5]), np.zeros(0)]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"ids": [139, 285], "boxes": boxes, "scores": scores}))
    first, second = read(tmp_path / "x.pkl")
    assert first == ([[1, 1, 2, 2], [0, 0, 200, 100]], [0.5, np.float32(0.1)])
    assert second == ([], [])


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(d2_dict()))
    first = aligned_store(tmp_path / "x.pkl", dataset())
    monkeypatch.setattr("detkit.proposals.store.aligned._READERS", {".pkl": None})
    assert aligned_store(tmp_path / "x.pkl", dataset()).path == first.path
    monkeypatch.undo()
    other = replace(dataset(), sizes=np.array([[400, 400], [400, 400]], np.int32))
    assert aligned_store(tmp_path / "x.pkl", other).path != first.path
