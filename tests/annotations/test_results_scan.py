from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from detkit.annotations import coco_results
from detkit.annotations.coco_results import read_coco_results, write_coco_results
from detkit.annotations.decimals import nearest_float
from detkit.annotations.results_scan import scan_results
from detkit.errors import UserError
from tests.reference.random_sets import random_sets


def random_number(rng: np.random.Generator) -> float:
    kind = rng.integers(5)
    if kind == 0:
        return float(rng.integers(-(10**6), 10**6))
    if kind == 1:
        return round(float(rng.uniform(-1000, 1000)), int(rng.integers(0, 6)))
    if kind == 2:
        return float(np.float32(rng.uniform(0, 500)))
    if kind == 3:
        return float(rng.normal() * 10.0 ** rng.integers(-30, 30))
    return float(rng.uniform(0, 1))


def random_results(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    results = []
    for _ in range(count):
        record = {
            "image_id": int(rng.integers(0, 10**12)),
            "category_id": int(rng.integers(-3, 100)),
            "bbox": [random_number(rng) for _ in range(4)],
            "score": random_number(rng),
        }
        keys = list(record) if rng.random() < 0.5 else list(rng.permutation(list(record)))
        results.append({str(key): record[str(key)] for key in keys})
    return results


@pytest.mark.parametrize(
    "written",
    [
        orjson.dumps,
        lambda results: orjson.dumps(results, option=orjson.OPT_INDENT_2),
        lambda results: json.dumps(results).encode(),
        lambda results: b" \n\t" + json.dumps(results, indent="\t").replace("\n", "\r\n").encode() + b"\r\n",
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_numbers_are_those_that_python_reads(written: Callable[[Any], bytes], seed: int) -> None:
    results = random_results(np.random.default_rng(seed), 60)
    text = written(results)
    scanned = scan_results(text, num_threads=1 + seed)
    assert scanned is not None
    expected = json.loads(text)
    assert scanned.image_ids.tolist() == [r["image_id"] for r in expected]
    assert scanned.category_ids.tolist() == [r["category_id"] for r in expected]
    np.testing.assert_array_equal(scanned.boxes, [r["bbox"] for r in expected])
    np.testing.assert_array_equal(scanned.scores, [r["score"] for r in expected])


@pytest.mark.parametrize("indent", [None, 1, 90])
def test_records_that_look_alike_are_read_as_any_other(indent: int | None) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        results = random_results(rng, 30)
        order = rng.permutation(list(results[0]))
        text = json.dumps([{str(key): r[str(key)] for key in order} for r in results], indent=indent)
        expected = json.loads(text)
        scanned = scan_results(text.encode(), num_threads=2)
        assert (scanned is None) == (indent == 90)  # rare, and left to the general reader
        if scanned is not None:
            assert scanned.image_ids.tolist() == [r["image_id"] for r in expected]
            assert scanned.category_ids.tolist() == [r["category_id"] for r in expected]
            np.testing.assert_array_equal(scanned.boxes, [r["bbox"] for r in expected])
            np.testing.assert_array_equal(scanned.scores, [r["score"] for r in expected])


GOOD = '{"image_id":1,"category_id":2,"bbox":[1,2,3,4],"score":0.5}'


OTHER_VALUES = [
    ("1,", "1.0,"), ('"image_id":1', '"image_id":12345678901234567890'), ('"image_id":1,', ""),
    ("0.5", "00.5"), ("0.5", ".5"),
    ("0.5", "5."), ("0.5", "+5"), ("0.5", "5e"), ("0.5", "5e99999"), ("0.5", "-"),
    ("0.5", "NaN"), ("0.5", '"0.5"'), ("0.5", "12345678901234567890123"), ("0.5", '0.5,"area":3'),
    (",4]", "]"), (",4]", ",4,5]"), ("score", "scores"), ("score", "bbox"),
]  # fmt: skip
OTHER_LISTS = [
    "",
    "[]",
    "{}",
    "[",
    GOOD,
    f"[{GOOD}",
    f"[{GOOD},]",
    f"[{GOOD}]x",
    f"[{GOOD} {GOOD}]",
    '["a"]',
    "[1]",
]


@pytest.mark.parametrize("text", OTHER_LISTS + [f"[{GOOD.replace(a, b, 1)}]" for a, b in OTHER_VALUES])
def test_whatever_is_unusual_is_left_to_the_general_reader(text: str) -> None:
    assert scan_results(f"[{GOOD}]".encode()) is not None
    assert scan_results(text.encode()) is None


@pytest.mark.parametrize(("old", "new"), OTHER_VALUES)
def test_a_record_amid_good_ones_is_looked_at_as_closely(old: str, new: str) -> None:
    assert scan_results(f"[{GOOD},{GOOD},{GOOD}]".encode()) is not None
    assert scan_results(f"[{GOOD},{GOOD.replace(old, new, 1)},{GOOD}]".encode()) is None


def test_every_cut_of_a_file_is_refused() -> None:
    text = f"[{GOOD}, {GOOD}]".encode()
    for threads in (1, 2, 3):
        assert all(scan_results(text[:end], threads) is None for end in range(len(text)))
        assert scan_results(text, threads) is not None


@pytest.mark.parametrize("seed", range(10))
def test_both_readers_agree(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = random_sets(seed)
    write_coco_results(tmp_path / "found.json", found, truth)
    monkeypatch.setattr(coco_results, "WORTH_SCANNING", 0)
    quick = read_coco_results(tmp_path / "found.json", truth)
    monkeypatch.setattr(coco_results, "WORTH_SCANNING", 1 << 60)
    slow = read_coco_results(tmp_path / "found.json", truth)
    for name in ("images", "labels", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(slow, name))
        assert getattr(quick, name).dtype == getattr(slow, name).dtype
        np.testing.assert_array_equal(getattr(quick, name), getattr(found, name))


def test_an_unknown_image_is_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_results, "WORTH_SCANNING", 0)
    truth, _ = random_sets(0)
    (tmp_path / "found.json").write_text(f"[{GOOD.replace('1', '987654')}]")
    with pytest.raises(UserError, match="987654"):
        read_coco_results(tmp_path / "found.json", truth)


def as_integer(text: str) -> tuple[int, int]:
    """The digits and the power of ten of a positive number."""
    mantissa, _, power = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    return int(whole + fraction), int(power or 0) - len(fraction)


def check(text: str) -> bool:
    digits, exponent = as_integer(text)
    value = nearest_float(np.uint64(digits), exponent)
    assert np.isnan(value) or value == float(text), text
    return bool(np.isnan(value))


def test_floats_are_read_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    undecided = 0
    for bits in rng.integers(1, 2047 << 52, 20_000).tolist():
        value = struct.unpack("d", struct.pack("Q", bits))[0]
        undecided += check(repr(value))
    assert undecided < 20  # subnormal numbers


def test_numbers_halfway_between_two_floats_go_to_the_even_one() -> None:
    rng = np.random.default_rng(1)
    for odd in (2 * rng.integers(2**52, 2**53, 3000) + 1).tolist():
        assert not check(str(odd))
        assert not check(f"{odd}e{int(rng.integers(-20, 20))}")
    for half in (2 * rng.integers(2**40, 2**45, 3000) + 1).tolist():
        for power in (1, 2, 3, 4):
            assert not check(f"{half * 5**power}e-{power}")


def test_the_smallest_and_largest() -> None:
    for text in (
        "0",
        "1",
        "9007199254740993",
        "18446744073709551615",
        "1e-22",
        "1e22",
        "1e23",
        "1.7976931348623157e308",
    ):
        assert not check(text)
    for text in ("5e-324", "2.2250738585072011e-308", "1e-400"):
        check(text)
    assert np.isnan(nearest_float(np.uint64(1), 309))
