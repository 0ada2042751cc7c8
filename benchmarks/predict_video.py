"""Memory and frame rate of `detkit predict` over a long video.

A video of scenes of the embedded dataset is written and predicted by a small Faster R-CNN with random
weights, which finds boxes everywhere, so that there is much to keep. Memory is that of the process (Linux)
after the first tenth of the frames, and the most of any time later.

    python benchmarks/predict_video.py [--frames 10000] [--draw] [--json FILE]

`ours_s` is seconds per frame, reading, detecting and writing; `growth_mib` the memory that came after the
first tenth (goal: below 50).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
from measuring.small_model import resident_mib, scenes, write_model
from measuring.turns import claim_of, deliver, rounded

GOAL_MIB = 50.0
SIDE_PX = 128


def write_video(file: Path, frames: int) -> None:
    from detkit.data.videos import VideoFile

    images = [cv2.resize(scene, (SIDE_PX, SIDE_PX)) for scene in scenes(100)]
    with VideoFile(file, 25.0) as video:
        for number in range(frames):
            video.add(images[number // 5 % len(images)], number / 25)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from detkit.workflows.predict import predict

    memory: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model.safetensors")
        write_video(folder / "film.mp4", options.frames)

        def note(done: int, total: int) -> None:
            if done % 100 == 0 and done >= options.frames // 10:
                memory.append(resident_mib())

        start = time.perf_counter()
        _, records = predict(
            folder / "model.safetensors",
            folder / "film.mp4",
            out=folder / "out",
            threshold=0.05,
            device="cpu",
            draw=options.draw,
            on_image=note,
        )
        taken = time.perf_counter() - start
        boxes = sum(len(one["detections"]) for one in records)
        lines_mib = (folder / "out" / "detections.jsonl").stat().st_size / (1 << 20)
    drawn = ", drawn" if options.draw else ""
    text = f"detkit predict of {len(records):,} frames of {SIDE_PX} x {SIDE_PX} pixels{drawn}, a frame"
    growth = max(memory) - memory[0]
    deliver(
        [
            claim_of(
                text,
                [taken / len(records)],
                frames_per_second=rounded(len(records) / taken),
                boxes=boxes,
                lines_mib=rounded(lines_mib),
                memory_mib=rounded(memory[0]),
                growth_mib=rounded(growth),
                goal_mib=GOAL_MIB,
            )
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
