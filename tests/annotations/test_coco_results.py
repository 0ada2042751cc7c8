from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from detkit.annotations import coco_results
from detkit.annotations.coco_results import (
    Results,
    read_coco_results,
    read_plain_results,
    write_coco_results,
)
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.errors import UserError
from tests.reference.random_sets import random_sets


def random_number(rng: np.random.Generator) -> float:
    kind = rng.integers(6)
    if kind == 0:
        return float(rng.integers(-(10**6), 10**6))
    if kind == 1:
        return round(float(rng.uniform(-1000, 1000)), int(rng.integers(0, 6)))
    if kind == 2:
        return float(np.float32(rng.uniform(0, 500)))
    if kind == 3:
        return float(rng.normal() * 10.0 ** rng.integers(-30, 30))
    if kind == 4:
        return int(rng.integers(-(10**6), 10**6))
    return float(rng.uniform(0, 1))


def random_results(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Records whose keys have the same order, as a program writes them."""
    order = rng.permutation(["image_id", "category_id", "bbox", "score"]).tolist()
    results = []
    for _ in range(count):
        record = {
            "image_id": int(rng.integers(0, 10**12)),
            "category_id": int(rng.integers(-3, 100)),
            "bbox": [random_number(rng) for _ in range(4)],
            "score": random_number(rng),
        }
        results.append({key: record[key] for key in order})
    return results


def read(folder: Path, text: bytes) -> Results | None:
    (folder / "found.json").write_bytes(text)
    return read_plain_results(folder / "found.json")


def assert_as_python_reads(found: Results | None, text: bytes) -> None:
    expected = json.loads(text)
    assert found is not None
    assert found.image_ids.tolist() == [r["image_id"] for r in expected]
    assert found.category_ids.tolist() == [r["category_id"] for r in expected]
    np.testing.assert_array_equal(found.boxes, np.array([r["bbox"] for r in expected], float))
    np.testing.assert_array_equal(found.scores, np.array([r["score"] for r in expected], float))


@pytest.fixture(params=[1, 1 << 17], ids=["a record at a time", "as it is"])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_results, "PIECE", request.param)


@pytest.mark.parametrize(
    "written",
    [
        orjson.dumps,
        lambda results: orjson.dumps(results, option=orjson.OPT_INDENT_2),
        lambda results: json.dumps(results).encode(),
        lambda results: json.dumps(results, indent=1).encode(),
        lambda results: b" \n\t" + json.dumps(results, indent="\t").replace("\n", "\r\n").encode() + b"\r\n",
    ],
)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.usefixtures("piece")
def test_numbers_are_those_that_python_reads(
    written: Callable[[Any], bytes], seed: int, tmp_path: Path
) -> None:
    text = written(random_results(np.random.default_rng(seed), 1 if seed == 0 else 60))
    assert_as_python_reads(read(tmp_path, text), text)


GOOD = '{"image_id":1,"category_id":2,"bbox":[1,2,3,4],"score":0.5}'
NUMBERS = ["-0.5", "5e-1", "5E+03", "0", "-0", "1234567890.123456789", "0.0000001234567890123456789", "0e5",
           "0." + "0" * 30, "1e22", "1.7976931348623157e308", "5e-324", "2.2250738585072011e-308", "1e-400",
           "9007199254740993", "18446744073709551615", "12345678901234567890123",
           "0.12345678901234567890"]  # fmt: skip
OTHER_WAYS = [
    f"[{GOOD}, {GOOD},{GOOD}]", f'[{GOOD},{{"score":0.5,"image_id":1,"category_id":2,"bbox":[1,2,3,4]}}]',
    "[" + GOOD.replace("0.5", '0.7,"score":0.5') + "]", "[" + GOOD.replace("score", "\\u0073core") + "]",
]  # fmt: skip
OTHER_VALUES = [
    ("1,", "1.0,"), ('"image_id":1', '"image_id":12345678901234567890'), ('"image_id":1,', ""),
    ("0.5", "00.5"), ("0.5", ".5"), ("0.5", "-Infinity"), ("1,", "-9223372036854775809,"),
    ("0.5", "5."), ("0.5", "+5"), ("0.5", "5e"), ("0.5", "5e99999"), ("0.5", "5e999"), ("0.5", "-"),
    ("0.5", "NaN"), ("0.5", "Infinity"), ("0.5", "true"), ("0.5", "null"), ("0.5", '"0.5"'),
    ("0.5", '0.5,"area":3'), ("0.5", '0.5,"score":"x"'), ("0.5", '"x","score":0.5'), ("1,", "true,"),
    ("score", "\udcff"), ("0.5", '0.5,"\udcff":0'), ("0.5", '0.5,"\\ud800":0'),
    ("0.5", '0.5,"segmentation":{}'), ("0.5", '0.5,"name":"}"'), ("0.5", '0.5,"name":"\udcff"'),
    ("[1,2,3,4]", "1"), ("0.5", "[0.5]"), (",4]", "]"), (",4]", ",4,5]"),
    ("score", "scores"), ("score", "bbox"),
]  # fmt: skip
OTHER_LISTS = [
    "", "[]", "{}", "[", "}{", GOOD, f"[{GOOD}", f"[{GOOD},]", f"[{GOOD}]x", f"x[{GOOD}]", f"[,{GOOD}]",
    f"[{GOOD} {GOOD}]", f"[{GOOD},,{GOOD}]", f"[{GOOD}}},{GOOD}]", f"[{GOOD},{GOOD}}}]", f"[{GOOD},[{GOOD}]",
    f"[{GOOD},3]", f"[3,{GOOD}]", f"[[{GOOD}]]", '["a"]', "[1]",
    f"\ufeff[{GOOD}]", f"[{GOOD}]\v",
]  # fmt: skip


OTHERS = OTHER_LISTS + [
    f"[{records}]"
    for other in (GOOD.replace(old, new, 1) for old, new in OTHER_VALUES)
    for records in (other, f"{GOOD},{other},{GOOD}", f"{other},{other}")
]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_way_to_write_a_number(number: str, tmp_path: Path) -> None:
    text = f"[{GOOD},{GOOD.replace('0.5', number).replace('[1', '[' + number)}]".encode()
    assert_as_python_reads(read(tmp_path, text), text)


@pytest.mark.parametrize("text", OTHER_WAYS)
@pytest.mark.usefixtures("piece")
def test_other_ways_to_write_the_same(text: str, tmp_path: Path) -> None:
    assert_as_python_reads(read(tmp_path, text.encode()), text.encode())


@pytest.mark.parametrize("text", OTHERS, ids=range(len(OTHERS)))
@pytest.mark.usefixtures("piece")
def test_whatever_is_unusual_is_left_to_the_general_reader(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"[{GOOD}]".encode()) is not None
    assert read(tmp_path, text.encode("utf-8", "surrogateescape")) is None


@pytest.mark.usefixtures("piece")
def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    text = f"[{GOOD}, {GOOD}]".encode()
    assert all(read(tmp_path, text[:end]) is None for end in range(len(text)))
    assert read(tmp_path, text) is not None


def both_ways(file: Path, truth: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[DetectionSet, DetectionSet]:
    quick = read_coco_results(file, truth)
    monkeypatch.setattr(coco_results, "read_plain_results", lambda file: None)
    return quick, read_coco_results(file, truth)


@pytest.mark.parametrize("seed", range(10))
def test_both_readers_agree(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = random_sets(seed)
    write_coco_results(tmp_path / "found.json", found, truth)
    quick, slow = both_ways(tmp_path / "found.json", truth, monkeypatch)
    for name in ("images", "labels", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(slow, name))
        assert getattr(quick, name).dtype == getattr(slow, name).dtype
        np.testing.assert_array_equal(getattr(quick, name), getattr(found, name))


def test_plain_results_never_reach_the_general_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path) -> None:
        raise AssertionError("the general reader was called")

    truth, found = random_sets(0)
    monkeypatch.setattr(coco_results, "read_json", refuse)
    write_coco_results(tmp_path / "found.json", found, truth)
    np.testing.assert_array_equal(read_coco_results(tmp_path / "found.json", truth).boxes, found.boxes)


@pytest.mark.parametrize("extra", [{"segmentation": {"counts": "}{", "size": [3, 4]}}, {"area": 7, "id": 3}])
@pytest.mark.parametrize("where", [slice(None), slice(1), slice(5, None)])
def test_other_keys_are_passed_over(
    extra: dict[str, Any], where: slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, found = random_sets(0)
    write_coco_results(tmp_path / "found.json", found, truth)
    results = json.loads((tmp_path / "found.json").read_bytes())
    for record in results[where]:
        record.update(extra)
    (tmp_path / "found.json").write_text(json.dumps(results), encoding="utf-8")
    for read in both_ways(tmp_path / "found.json", truth, monkeypatch):
        np.testing.assert_array_equal(read.boxes, found.boxes)
        np.testing.assert_array_equal(read.scores, found.scores)


def test_an_unknown_image_is_still_named(tmp_path: Path) -> None:
    truth, _ = random_sets(0)
    (tmp_path / "found.json").write_text(f"[{GOOD.replace('1', '987654')}]")
    with pytest.raises(UserError, match="987654"):
        read_coco_results(tmp_path / "found.json", truth)


STRANGE = [
    "-0", "01", "1.0", "1e5", "1e400", "1e308", "5e-324", "NaN", "null", "true", "[]", "[0.5]", "-", ".5",
    "5.", "1000000001", "1e9", "-1e9", "1e10", "18446744073709551615", "18446744073709551616",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", '"0.5"',
    '"\\ud800"', "1e" + "9" * 50, "9" * 30, "9" * 10_000, "9" * 310 + ".0", "0." + "1" * 10_000,
]  # fmt: skip


def strange_results(rng: random.Random, images: list[int], categories: list[int]) -> bytes:
    """Return results in which a value, a key, a record or a byte is perhaps another."""
    records = []
    for _ in range(rng.choice((1, 2, 3))):
        box = [rng.choice(STRANGE) if rng.random() < 0.1 else str(rng.choice((1, 2.5, 30))) for _ in range(4)]
        fields = {
            "image_id": str(rng.choice(images)),
            "category_id": str(rng.choice(categories)),
            "bbox": f"[{','.join(box)}]",
            "score": str(rng.random()),
        }
        if rng.random() < 0.4:
            fields[rng.choice([*fields, "area", "}},"])] = rng.choice(STRANGE)
        items = [f'"{key}":{value}' for key, value in fields.items()]
        rng.shuffle(items)
        records.append("{" + ",".join(items + rng.choices(items, k=rng.random() < 0.05)) + "}")
    text = bytearray(f"[{','.join(records)}]".encode())
    if rng.random() < 0.2:
        text[rng.randrange(len(text))] = rng.choice((rng.randrange(256), *b'[]{},":e.-0 '))
    return bytes(text)


def outcome(file: Path, truth: AnnotationSet) -> str:
    try:
        found = read_coco_results(file, truth)
    except UserError as error:
        return "refused" if len(str(error)) < 600 else "a message without end"
    return repr([found.images.tolist(), found.labels.tolist(), found.scores.tolist(), found.boxes.tolist()])


@pytest.mark.parametrize("seed", range(3))
def test_what_one_reader_refuses_the_other_refuses(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, truth = random.Random(seed), random_sets(0)[0]
    file, quick_reader = tmp_path / "found.json", read_plain_results
    outcomes = []
    for _ in range(400):
        monkeypatch.setattr(coco_results, "PIECE", rng.choice((1, 50, 1 << 17)))
        file.write_bytes(strange_results(rng, truth.image_ids.tolist(), truth.category_ids.tolist()))
        monkeypatch.setattr(coco_results, "read_plain_results", quick_reader)
        quick = outcome(file, truth)
        monkeypatch.setattr(coco_results, "read_plain_results", lambda file: None)
        assert quick == outcome(file, truth), file.read_bytes()
        outcomes.append(quick)
    assert 50 < outcomes.count("refused") < 350
