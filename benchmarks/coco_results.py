"""COCO results from file to arrays: detkit's scan beside msgspec and orjson.

500,000 boxes on 5,000 images, once with two decimals and once with all the digits of a float32, as
detectors write them. msgspec decodes into typed records, in pieces that stay in the processor's cache, which
is its fastest way here; orjson builds dicts. Measured are the results alone, and both files to the twelve
numbers, where the scan works beside the reader of annotations, and the others after it.

    python benchmarks/coco_results.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from coco_eval import write_files
from measuring.turns import Claim, claim_of, deliver, in_turns

from detkit.annotations.coco import read_coco
from detkit.annotations.coco_results import positions, read_coco_with_results
from detkit.annotations.collection import paused_collection
from detkit.annotations.dataset import DetectionSet
from detkit.annotations.results_scan import Results, scan_results
from detkit.evaluation.metrics.coco import evaluate_coco

PIECE = 1 << 17  # bytes
Read = Callable[[Path], Results]


class Record(msgspec.Struct, gc=False):
    """One detection."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


DECODER = msgspec.json.Decoder(list[Record])


def by_scan(file: Path) -> Results:
    found = scan_results(file, os.cpu_count() or 1)
    assert found is not None
    return found


@paused_collection()
def by_msgspec(file: Path) -> Results:
    text, parts = file.read_bytes(), []
    at, end = text.index(b"[") + 1, text.rindex(b"]")
    while at < end:
        cut = text.find(b"},", at + PIECE) + 1 or end
        records = DECODER.decode(b"[%b]" % text[at:cut])
        parts.append(
            columns(
                [r.image_id for r in records],
                [r.category_id for r in records],
                [r.bbox for r in records],
                [r.score for r in records],
            )
        )
        at = cut + 1
    return Results(*map(np.concatenate, zip(*parts, strict=True)))


@paused_collection()
def by_orjson(file: Path) -> Results:
    records = orjson.loads(file.read_bytes())
    return columns(*([r[key] for r in records] for key in ("image_id", "category_id", "bbox", "score")))


def columns(
    images: list[int], categories: list[int], boxes: Iterable[Sequence[float]], scores: list[float]
) -> Results:
    count = len(images)
    return Results(
        np.fromiter(images, np.int64, count),
        np.fromiter(categories, np.int64, count),
        np.fromiter(chain.from_iterable(boxes), np.float64, 4 * count).reshape(-1, 4),
        np.fromiter(scores, np.float64, count),
    )


def write_all_digits(folder: Path) -> None:
    """Change found.json to what a detector in float32 writes."""
    records = orjson.loads((folder / "found.json").read_bytes())
    for record in records:
        record["bbox"] = (np.float32(record["bbox"]) * np.float32(1.001)).tolist()
        record["score"] = float(np.float32(record["score"]) * np.float32(0.999))
    (folder / "found.json").write_bytes(orjson.dumps(records))


def numbers(folder: Path, read: Read) -> list[float]:
    """Return the twelve numbers, with the scan as detkit uses it, or another reader in its place."""
    truth, file = folder / "truth.json", folder / "found.json"
    if read is by_scan:
        annotations, found = read_coco_with_results(folder, truth, file)
    else:
        annotations, results = read_coco(folder, truth), read(file)
        images = positions(results.image_ids, annotations.image_ids)
        labels = positions(results.category_ids, annotations.category_ids).astype(np.int32)
        found = DetectionSet(images, labels, results.scores, results.boxes, "coco")
    return list(evaluate_coco(annotations, found).stats.values())


def measure(folder: Path, digits: str, rounds: int) -> list[Claim]:
    readers = {"detkit": by_scan, "msgspec": by_msgspec, "orjson": by_orjson}
    versions = {"msgspec": msgspec.__version__, "orjson": orjson.__version__}
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
