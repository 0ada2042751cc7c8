"""Selective search: detkit beside OpenCV's ximgproc, interleaved, on photographs of 500 x 375 pixels.

OpenCV's selective search comes with opencv-contrib-python-headless, which cannot be installed beside the
OpenCV that detkit needs. It gets an environment of its own in the user's cache folder, made on the first
run, and a process that is sent images and answers with boxes and seconds. Both sides may use all cores.
Photographs are taken from a folder, or cut from the two that come with scikit-learn.

    python benchmarks/selective_search.py [--images FOLDER] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring.opencv_contrib import environment

WIDTH, HEIGHT = 500, 375
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass
class Case:
    """One claim: detkit's mode beside OpenCV's, and what share of OpenCV's boxes must be found."""

    claim: str
    mode: str
    peer_mode: str
    must_cover: float | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    covered: dict[str, float] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)


def cases() -> list[Case]:
    return [
        Case("Selective search, OpenCV's fast mode", "opencv_fast", "fast", 0.98),
        Case("Selective search, OpenCV's quality mode", "opencv_quality", "quality", 0.94),
        Case("Selective search, the paper's fast mode (peer: OpenCV's)", "fast", "fast"),
        Case("Selective search, the paper's quality mode (peer: OpenCV's)", "quality", "quality"),
    ]


def opencv_worker() -> None:
    """Answer, line by line, an image and a mode with OpenCV's boxes and the seconds they took."""
    print(json.dumps({"version": cv2.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        image = cv2.imread(request["image"])
        start = time.perf_counter()
        method = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        method.setBaseImage(image)
        if request["mode"] == "fast":
            method.switchToSelectiveSearchFast()
        else:
            method.switchToSelectiveSearchQuality()
        boxes = method.process()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "boxes": boxes.tolist()}), flush=True)


def first_call_worker() -> None:
    """Print the seconds of the first call in this process, and of the second one."""
    from detkit.proposals.selective_search.search import SelectiveSearch

    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    method = SelectiveSearch(mode="fast", seed=0, max_boxes=None)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        method(image)
        times.append(time.perf_counter() - start)
    print(json.dumps(times))


class OpenCV:
    """OpenCV contrib in its own process."""

    def __init__(self) -> None:
        command = [str(environment()), __file__, "--worker", "opencv"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self.listen()["version"]

    def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, image: Path, mode: str) -> tuple[float, np.ndarray]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"image": str(image), "mode": mode}) + "\n")
        self.process.stdin.flush()
        answer = self.listen()
        boxes = np.array(answer["boxes"], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return answer["seconds"], boxes


def photographs(folder: Path | None) -> list[np.ndarray]:
    """Return BGR images, scaled to cover 500 x 375 and cut to it."""
    if folder is not None:
        read = [cv2.imread(str(path)) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
        return [cover(image) for image in read if image is not None]
    from sklearn.datasets import load_sample_images

    whole = [np.ascontiguousarray(image[..., ::-1]) for image in load_sample_images().images]
    corners = [image[-HEIGHT:, -WIDTH:] if i else image[:HEIGHT, :WIDTH] for i, image in enumerate(whole)]
    return [cover(image) for image in whole + corners]


def cover(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = max(WIDTH / width, HEIGHT / height)
    size = max(WIDTH, round(width * scale)), max(HEIGHT, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - HEIGHT) // 2, (size[0] - WIDTH) // 2
    return np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])


def share_found(wanted: np.ndarray, boxes: np.ndarray, iou: float = 0.7) -> float:
    """Return the share of wanted boxes that some box overlaps by more than `iou`."""
    low = np.maximum(wanted[:, None, :2], boxes[None, :, :2])
    high = np.minimum(wanted[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.prod(part[:, 2:] - part[:, :2], axis=1) for part in (wanted, boxes)]
    return float((shared / (areas[0][:, None] + areas[1] - shared) > iou).any(axis=1).mean())


def measure(folder: Path, images: list[np.ndarray], rounds: int) -> list[dict[str, object]]:
    from detkit.proposals.selective_search.search import SelectiveSearch

    opencv, todo = OpenCV(), cases()
    paths = []
    for number, image in enumerate(images):
        paths.append(folder / f"{number}.png")  # without loss, so that both see the same pixels
        cv2.imwrite(str(paths[-1]), image)
    methods = {
        case.mode: SelectiveSearch(
            mode=case.mode, seed=0, max_boxes=None, num_threads=len(os.sched_getaffinity(0))
        )
        for case in todo
    }
    for method in methods.values():
        method(images[0])
    for turn in range(rounds):
        for path, image in zip(paths, images, strict=True):
            answers = {mode: opencv.ask(path, mode) for mode in ("fast", "quality")}
            for case in todo:
                start = time.perf_counter()
                found = methods[case.mode](image[..., ::-1])
                ours = time.perf_counter() - start
                theirs, boxes = answers[case.peer_mode]
                case.seconds.setdefault("ours", []).append(ours)
                case.seconds.setdefault("peer", []).append(theirs)
                if turn == 0:
                    case.covered[path.name] = share_found(boxes, found.boxes)
                    case.counts[path.name] = len(found), len(boxes)
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    opencv.process.communicate()
    return [row(case, f"OpenCV contrib {opencv.version}") for case in todo]


def row(case: Case, peer: str) -> dict[str, object]:
    ours, theirs = (statistics.median(case.seconds[side]) for side in ("ours", "peer"))
    ratios = [b / a for a, b in zip(case.seconds["ours"], case.seconds["peer"], strict=True)]
    covered = statistics.mean(case.covered.values())
    counts = np.array(list(case.counts.values())).mean(axis=0)
    return {
        "claim": case.claim,
        "ours_s": round(ours, 4),
        "peer": peer,
        "peer_s": round(theirs, 4),
        "ratio": round(theirs / ours, 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "same_answer": None if case.must_cover is None else covered >= case.must_cover,
        "covered_at_iou_0.7": round(covered, 4),
        "boxes": round(float(counts[0]), 1),
        "peer_boxes": round(float(counts[1]), 1),
        "machine": machine(),
    }


def first_call() -> dict[str, object]:
    """Measure the first call in a new process, with and without compiled loops on disk."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            command = [sys.executable, __file__, "--worker", "first_call"]
            settings = os.environ | {"NUMBA_CACHE_DIR": folder}
            answer = subprocess.run(command, env=settings, check=True, capture_output=True, text=True)
            times.append(json.loads(answer.stdout)[0])
    return {
        "claim": "Selective search, first call of a new process, loops compiled before (peer: not)",
        "ours_s": round(times[1], 3),
        "peer": "detkit",
        "peer_s": round(times[0], 3),
        "ratio": round(times[0] / times[1], 2),
        "same_answer": True,
        "machine": machine(),
    }


def machine() -> str:
    return f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=("opencv", "first_call"))
    arguments = parser.parse_args()
    if arguments.worker:
        return opencv_worker() if arguments.worker == "opencv" else first_call_worker()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), photographs(arguments.images), arguments.rounds)
    text = json.dumps([*rows, first_call()], indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return None


if __name__ == "__main__":
    main()
