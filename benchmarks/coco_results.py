"""COCO results from file to arrays: detkit's typed records beside dicts of orjson and of json.

500,000 boxes on 5,000 images, once with two decimals and once with all the digits of a float32, as
detectors write them. detkit lets msgspec decode into typed records, in pieces that stay in the processor's
cache; the others build dicts of the whole file. Measured are the results alone, and both files to the twelve
numbers.

    python benchmarks/coco_results.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from coco_eval import write_files
from measuring.turns import Claim, claim_of, deliver, in_turns

from detkit.annotations.coco import paused_collection, read_coco
from detkit.annotations.coco_results import Results, positions, read_plain_results
from detkit.annotations.dataset import DetectionSet
from detkit.evaluation.metrics.coco import evaluate_coco

Read = Callable[[Path], Results]


def by_detkit(file: Path) -> Results:
    found = read_plain_results(file)
    assert found is not None
    return found


@paused_collection()
def by_orjson(file: Path) -> Results:
    return columns(orjson.loads(file.read_bytes()))


@paused_collection()
def by_json(file: Path) -> Results:
    return columns(json.loads(file.read_bytes()))


def columns(records: list[dict[str, Any]]) -> Results:
    count = len(records)
    boxes = chain.from_iterable([r["bbox"] for r in records])
    return Results(
        np.fromiter([r["image_id"] for r in records], np.int64, count),
        np.fromiter([r["category_id"] for r in records], np.int64, count),
        np.fromiter(boxes, np.float64, 4 * count).reshape(-1, 4),
        np.fromiter([r["score"] for r in records], np.float64, count),
    )


def write_all_digits(folder: Path) -> None:
    """Change found.json to what a detector in float32 writes."""
    records = orjson.loads((folder / "found.json").read_bytes())
    for record in records:
        record["bbox"] = (np.float32(record["bbox"]) * np.float32(1.001)).tolist()
        record["score"] = float(np.float32(record["score"]) * np.float32(0.999))
    (folder / "found.json").write_bytes(orjson.dumps(records))


def numbers(folder: Path, read: Read) -> list[float]:
    annotations, results = read_coco(folder, folder / "truth.json"), read(folder / "found.json")
    images = positions(results.image_ids, annotations.image_ids)
    labels = positions(results.category_ids, annotations.category_ids).astype(np.int32)
    found = DetectionSet(images, labels, results.scores, results.boxes, "coco")
    return list(evaluate_coco(annotations, found).stats.values())


def measure(folder: Path, digits: str, rounds: int) -> list[Claim]:
    readers = {"detkit": by_detkit, "orjson": by_orjson, "json": by_json}
    versions = {"orjson": orjson.__version__, "json": f"of Python {platform.python_version()}"}
    calls: dict[str, Callable[[Read], Any]] = {
        "results file to arrays": lambda read: read(folder / "found.json"),
        "from JSON files to the twelve numbers": lambda read: numbers(folder, read),
    }
    claims = []
    for what, call in calls.items():
        answers = {name: call(read) for name, read in readers.items()}
        taken = in_turns({name: partial(call, read) for name, read in readers.items()}, rounds)
        for name, version in versions.items():
            pairs = zip(answers["detkit"], answers[name], strict=True)
            same = all(np.array_equal(mine, theirs) for mine, theirs in pairs)
            text = f"COCO {what}, 500,000 boxes, {digits}"
            claims.append(claim_of(text, taken["detkit"], f"{name} {version}", taken[name], same_answer=same))
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        claims = measure(folder, "two decimals", arguments.rounds)
        write_all_digits(folder)
        claims += measure(folder, "all digits", arguments.rounds)
    deliver(claims, arguments.json)


if __name__ == "__main__":
    main()
