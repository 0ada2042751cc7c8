"""HOG + SVM: detkit beside OpenCV's detectMultiScale, interleaved, at the same windows of photographs.

Both take OpenCV's detector of people, with its pyramid, its stride and its grouping. OpenCV 5 has it in
opencv-contrib-python-headless alone, which gets an environment of its own in the user's cache folder, made on
the first run (as for `selective_search.py`), or --python names an interpreter that has it. Both sides may use
all cores, unless --threads says how many.

    python benchmarks/hog.py [--images FOLDER] [--rounds 5] [--threads N] [--python FILE] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring.opencv_contrib import environment
from measuring.turns import claim_of, deliver

SUFFIXES = {".jpg", ".jpeg", ".png"}


def worker(threads: int) -> None:
    """Answer, line by line, an image with OpenCV's windows and the seconds they took; first its detector."""
    hog = cv2.HOGDescriptor()
    vector = cv2.HOGDescriptor.getDefaultPeopleDetector()
    hog.setSVMDetector(vector)
    cv2.setNumThreads(threads)
    print(json.dumps({"version": cv2.__version__, "vector": vector.ravel().tolist()}), flush=True)
    for line in sys.stdin:
        image = cv2.imread(line.strip())
        start = time.perf_counter()
        boxes, weights = hog.detectMultiScale(image, winStride=(8, 8), padding=(8, 8), scale=1.05)
        seconds = time.perf_counter() - start
        print(
            json.dumps(
                {
                    "seconds": seconds,
                    "boxes": np.array(boxes).reshape(-1, 4).tolist(),
                    "weights": np.array(weights).ravel().tolist(),
                }
            ),
            flush=True,
        )


def photographs(folder: Path | None) -> list[np.ndarray]:
    """Return BGR images: those of a folder, or the two that come with scikit-learn."""
    if folder is not None:
        read = [cv2.imread(str(path)) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
        return [image for image in read if image is not None]
    from sklearn.datasets import load_sample_images

    return [np.ascontiguousarray(image[..., ::-1]) for image in load_sample_images().images]


class OpenCV:
    """OpenCV contrib in its own process."""

    def __init__(self, python: Path, threads: int) -> None:
        command = [str(python), __file__, "--worker", "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self.listen()
        self.version, self.vector = first["version"], np.array(first["vector"], np.float32)

    def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, image: Path) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{image}\n")
        self.process.stdin.flush()
        return self.listen()


def detector(folder: Path, vector: np.ndarray) -> Any:
    """Return OpenCV's detector, imported."""
    from detkit.runs.predictor import load_detector
    from detkit.workflows.import_model import import_model

    np.save(folder / "people.npy", vector)
    padded = ["detector.proposals.padding_px=8"]
    return load_detector(import_model(folder / "people.npy", "opencv-hog", overrides=padded).out).model


def measure(
    folder: Path, images: list[np.ndarray], rounds: int, threads: int, python: Path
) -> dict[str, Any]:
    import torch

    from detkit.structures import ImageBatch

    torch.set_num_threads(threads)
    opencv = OpenCV(python, threads)
    model, seconds, same = detector(folder, opencv.vector), {"ours": [], "peer": []}, True
    batches, paths = [], []
    for number, image in enumerate(images):
        paths.append(folder / f"{number}.png")  # without loss, so that both see the same pixels
        cv2.imwrite(str(paths[-1]), image)
        pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None]
        batches.append(ImageBatch(pixels, (image.shape[:2],), (image.shape[:2],)))
    model.detect(batches[0])  # loads the compiled loops
    for turn in range(rounds + 1):
        for path, batch in zip(paths, batches, strict=True):
            theirs = opencv.ask(path)
            start = time.perf_counter()
            [found] = model.detect(batch)
            took = time.perf_counter() - start
            if turn == 0:  # warms up
                same &= equal(found, theirs)
                continue
            seconds["ours"].append(took)
            seconds["peer"].append(theirs["seconds"])
    opencv.process.communicate()
    return claim_of(
        f"HOG + SVM, people in a photograph, {threads} threads",
        seconds["ours"],
        f"OpenCV contrib {opencv.version}, detectMultiScale",
        seconds["peer"],
        same_answer=same,
    )


def equal(found: Any, theirs: dict[str, Any]) -> bool:
    """Return whether the boxes are the same, and their margins to a ten-thousandth."""
    corners = np.array(theirs["boxes"], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    expected = dict(zip(map(tuple, corners.tolist()), theirs["weights"], strict=True))
    got = dict(zip(map(tuple, found.boxes.tolist()), found.margins.tolist(), strict=True))
    return expected.keys() == got.keys() and all(abs(got[box] - expected[box]) < 1e-4 for box in got)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--python", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true")
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.python or environment()
        images = photographs(arguments.images)
        rows = [measure(Path(folder), images, arguments.rounds, arguments.threads, python)]
    deliver(rows, arguments.json)
    return None


if __name__ == "__main__":
    main()
