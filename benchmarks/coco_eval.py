"""COCO evaluation of a COCO-size set: detkit beside pycocotools and the fast evaluators.

5,000 images, 80 classes, 36,000 objects, 100 detections an image. Every evaluator lives in a process
of its own that stays warm, and the rounds go round all of them; pycocotools takes a minute and has one
round. Three things are measured: evaluate and accumulate with the data in memory, from JSON files to
the twelve numbers, and what detkit's records of every match cost on top. Evaluators that are not
installed are left out.

    python benchmarks/coco_eval.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson

PACKAGES = {
    "pycocotools": "pycocotools",
    "faster_coco_eval": "faster-coco-eval",
    "vernier": "vernier",
    "ultrafast_pycocotools": "ultrafast-pycocotools",
    "hotcoco": "hotcoco",
}
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def write_files(
    folder: Path, num_images: int = 5000, num_objects: int = 36_000, per_image: int = 100
) -> None:
    """Write random annotations and detections with COCO's uneven classes and sizes."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 81) ** 0.7
    share /= share.sum()
    image = rng.integers(0, num_images, num_objects)
    label = rng.choice(80, num_objects, p=share)
    box = random_boxes(rng, num_objects)
    objects = [
        {
            "id": i + 1,
            "image_id": a + 1,
            "category_id": k + 1,
            "bbox": b,
            "area": 0.7 * b[2] * b[3],
            "iscrowd": c,
        }
        for i, (a, k, b, c) in enumerate(
            zip(
                image.tolist(),
                label.tolist(),
                box.tolist(),
                (rng.random(num_objects) < 0.01).astype(int).tolist(),
                strict=True,
            )
        )
    ]
    count = num_images * per_image
    at = np.repeat(np.arange(num_images), per_image)
    found_label, found_box, score = (
        rng.choice(80, count, p=share),
        random_boxes(rng, count),
        rng.beta(1, 8, count),
    )
    copies = rng.integers(0, num_objects, 3 * num_objects)  # three tries at each object
    slots = np.unique(image[copies] * per_image + rng.integers(0, per_image, len(copies)), return_index=True)
    rows, copies = slots[0], copies[slots[1]]
    noise = rng.choice([0.03, 0.1, 0.3], (len(rows), 1)) * rng.normal(size=(len(rows), 4))
    found_box[rows] = np.maximum(box[copies] + noise * np.tile(box[copies, 2:], 2), 1)
    found_label[rows], score[rows] = label[copies], rng.beta(3, 2, len(rows))
    results = [
        {"image_id": a + 1, "category_id": k + 1, "bbox": b, "score": s}
        for a, k, b, s in zip(
            at.tolist(),
            found_label.tolist(),
            found_box.round(2).tolist(),
            score.round(6).tolist(),
            strict=True,
        )
    ]
    content = {
        "info": {},
        "images": [
            {"id": i + 1, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(num_images)
        ],
        "categories": [{"id": k + 1, "name": f"class{k}"} for k in range(80)],
        "annotations": objects,
    }
    (folder / "truth.json").write_bytes(orjson.dumps(content))
    (folder / "found.json").write_bytes(orjson.dumps(results))


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    extent = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    corner = rng.random((count, 2)) * np.maximum(np.array([640, 480]) - extent, 1)
    return np.concatenate([corner, extent], axis=1).round(2)


class Ours:
    """detkit."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "truth.json", folder / "found.json"
        self.load()

    def load(self) -> None:
        from detkit.annotations.coco import read_coco
        from detkit.annotations.coco_results import read_coco_results

        truth, found = self.files
        self.truth = read_coco(truth.parent, truth)
        self.found = read_coco_results(found, self.truth)

    def evaluate(self, records: bool = False) -> Any:
        from detkit.evaluation.metrics.coco import evaluate_coco

        return evaluate_coco(self.truth, self.found, records=records)

    def records(self) -> Any:
        return self.evaluate(records=True)

    def from_files(self) -> list[float]:
        self.load()
        return self.numbers(self.evaluate())

    def numbers(self, result: Any) -> list[float]:
        return [result.stats[name] for name in STATS]

    def arrays(self, result: Any) -> list[np.ndarray]:
        return [result.precision, result.recall, result.scores]


class Peer:
    """Any evaluator with the COCO API's three calls."""

    def __init__(self, folder: Path, name: str) -> None:
        self.files = str(folder / "truth.json"), str(folder / "found.json")
        self.name = name
        self.load()

    def load(self) -> None:
        if self.name == "faster_coco_eval":
            from faster_coco_eval import COCO
        elif self.name == "ultrafast_pycocotools":
            from ultrafast_pycocotools import COCO
        elif self.name == "hotcoco":
            from hotcoco import COCO
        else:
            from pycocotools.coco import COCO
        self.truth = COCO(self.files[0])
        self.found = self.truth.loadRes(self.files[1])

    def evaluate(self) -> Any:
        if self.name == "faster_coco_eval":
            from faster_coco_eval import COCOeval_faster as COCOeval
        elif self.name == "ultrafast_pycocotools":
            from ultrafast_pycocotools import COCOeval
        elif self.name == "hotcoco":
            from hotcoco import COCOeval
        elif self.name == "vernier":
            from vernier import COCOeval
        else:
            from pycocotools.cocoeval import COCOeval
        scorer = COCOeval(self.truth, self.found, "bbox")
        scorer.evaluate()
        scorer.accumulate()
        return scorer

    def from_files(self) -> list[float]:
        if self.name == "vernier":  # its own reader takes the bytes
            from vernier.instance import Bbox, CocoDataset, Evaluator

            truth = CocoDataset.from_json(Path(self.files[0]).read_bytes())
            found = Path(self.files[1]).read_bytes()
            evaluator = Evaluator(iou=Bbox(), parity_mode="strict")
            summary = evaluator.evaluate(truth, found, num_threads=os.cpu_count())
            return [float(value) for value in summary.stats]
        self.load()
        return self.numbers(self.evaluate())

    def numbers(self, scorer: Any) -> list[float]:
        scorer.summarize()
        return [float(value) for value in scorer.stats[:12]]

    def arrays(self, scorer: Any) -> list[np.ndarray]:
        return [np.asarray(scorer.eval[name]) for name in ("precision", "recall", "scores")]


def work(name: str, folder: Path) -> None:
    """Answer, line by line, which call to time; the last line asks for the numbers and the memory."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # evaluators print
    evaluator = Ours(folder) if name == "detkit" else Peer(folder, name)
    if name != "pycocotools":  # a minute, and nothing to warm up
        evaluator.evaluate()
    if name == "detkit":
        evaluator.records()
    result: Any = None
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        call = line.strip()
        if call == "end":
            digest = hashlib.sha256()
            for array in evaluator.arrays(result):
                digest.update(np.ascontiguousarray(array, np.float64).tobytes())
            peak = [row for row in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in row]
            mib = int(peak[0].split()[1]) // 1024 if peak else None
            answer = {"numbers": evaluator.numbers(result), "digest": digest.hexdigest(), "mib": mib}
        else:
            start = time.perf_counter()
            answered = getattr(evaluator, call)()
            answer = {"seconds": time.perf_counter() - start}
            result = answered if call == "evaluate" else result
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """One evaluator in its own process."""

    def __init__(self, name: str, folder: Path) -> None:
        command = [sys.executable, __file__, "--worker", name, "--folder", str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.times: dict[str, list[float]] = {}
        self.listen()

    def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, call: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(call + "\n")
        self.process.stdin.flush()
        answer = self.listen()
        if "seconds" in answer:
            self.times.setdefault(call, []).append(answer["seconds"])
        return answer

    def end(self) -> dict[str, Any]:
        answer = self.ask("end")
        self.process.communicate()
        return answer

    def median(self, call: str) -> float:
        return statistics.median(self.times[call])


def measure(folder: Path, rounds: int) -> list[dict[str, object]]:
    names = [name for name in PACKAGES if find_spec(name)]
    workers = {name: Worker(name, folder) for name in ["detkit", *names]}
    for number in range(rounds):
        for name, worker in workers.items():
            if name == "pycocotools" and number:
                continue
            for call in ("evaluate", "from_files", *(["records"] if name == "detkit" else [])):
                worker.ask(call)
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    ends = {name: worker.end() for name, worker in workers.items()}
    ours, mine = workers["detkit"], ends["detkit"]
    rows = []
    for call, claim in (
        ("evaluate", "COCO evaluate and accumulate, data in memory"),
        ("from_files", "COCO from JSON files to the twelve numbers, warm process"),
    ):
        for name in names:
            theirs = ends[name]
            same = np.allclose(mine["numbers"], theirs["numbers"], rtol=0, atol=1e-6)
            if name == "pycocotools":
                same = same and mine["digest"] == theirs["digest"]  # every bit of the arrays
            peer = f"{PACKAGES[name]} {installed(PACKAGES[name])}"
            rows.append(row(claim, ours.median(call), peer, workers[name].median(call), same, mine, theirs))
    cost = "COCO evaluate with records of every match (peer: without)"
    rows.append(row(cost, ours.median("records"), "detkit", ours.median("evaluate"), True, mine, mine))
    return rows


def row(
    claim: str, ours: float, peer: str, theirs: float, same: bool, mine: dict[str, Any], other: dict[str, Any]
) -> dict[str, object]:
    return {
        "claim": claim,
        "ours_s": round(ours, 4),
        "peer": peer,
        "peer_s": round(theirs, 4),
        "ratio": round(theirs / ours, 2),
        "same_answer": bool(same),
        "ours_peak_mib": mine["mib"],
        "peer_peak_mib": other["mib"],
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        rows = measure(Path(folder), arguments.rounds)
    text = json.dumps(rows, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
