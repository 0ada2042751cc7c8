"""How time and memory grow: with image size, batch, objects, proposals, classes and processes.

Each curve changes one number of a small Faster R-CNN (ResNet-18, FPN of 64 channels, random weights)
and leaves the others alone. A row holds the whole curve, the time at its largest value, and the
exponent between its last two values: 1 is linear, below 1 a part does not grow. Memory is what a fresh
process needs beyond what the smallest value took. `--picture` draws the curves, each as shares of its largest
value. A fresh process is a fork of this one, which Windows does not have.

    python benchmarks/scaling.py [--rounds 3] [--quick] [--picture FILE.svg] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.turns import Claim, claim_of, deliver, rounded
from torch import nn

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import DetectionSet
from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.models.norm import folds_kept
from detkit.report.content import Curve
from detkit.report.recall_plot import curves_as_svg
from detkit.runtime.memory import forget_peak, peak_bytes
from detkit.runtime.processes import process_group, world_size
from detkit.structures import ImageBatch, Target, TrainBatch
from detkit.training.distributed import replicate

CPU = torch.device("cpu")
SIDE, CLASSES, OBJECTS, PROPOSALS = 256, 20, 10, 300
Work = Callable[[], object]


def make_model(num_classes: int = CLASSES, proposals: int = PROPOSALS) -> nn.Module:
    spec = {
        "type": "faster_rcnn",
        "backbone": {"type": "resnet", "depth": 18},
        "neck": {"type": "fpn", "channels": 64},
        "proposals": {
            "type": "rpn", "pre_nms_test": 2 * proposals, "post_nms_test": proposals, "nms_iou": 0.9,
        },
        "regions": {"type": "roi_align"},
        "head": {"type": "two_fc", "channels": 256},
    }  # fmt: skip
    return build_detector(FasterRCNNConfig.model_validate(spec), num_classes, seed=0)


def make_batch(
    num: int = 1, side: int = SIDE, objects: int = OBJECTS, num_classes: int = CLASSES
) -> TrainBatch:
    draw = torch.Generator().manual_seed(0)
    targets = []
    for number in range(num):
        corner = 0.7 * side * torch.rand(objects, 2, generator=draw)
        boxes = torch.cat([corner, corner + side * (0.05 + 0.2 * torch.rand(objects, 2, generator=draw))], 1)
        targets.append(Target.of(boxes, torch.randint(num_classes, (objects,), generator=draw), number))
    pixels = torch.randint(0, 256, (num, side, side, 3), generator=draw, dtype=torch.uint8).permute(
        0, 3, 1, 2
    )
    sizes = ((side, side),) * num
    return TrainBatch(ImageBatch(pixels, sizes, sizes), tuple(targets))


def detection(model: nn.Module, batch: TrainBatch) -> Work:
    model.eval()

    def run() -> None:
        with torch.inference_mode(), folds_kept(model):
            model.detect(batch.images)

    return run


def step(model: nn.Module, batch: TrainBatch) -> Work:
    model.train()

    def run() -> None:
        model.zero_grad()
        torch.stack(list(model(batch).values())).sum().backward()

    return run


def evaluation(num_classes: int) -> Work:
    """Return COCO's evaluation of 20,000 boxes in 500 images."""
    rng = np.random.default_rng(0)
    names = tuple(f"c{k}" for k in range(num_classes))
    assembly, owners, labels = Assembly("coco"), np.sort(rng.integers(0, 500, 4000)), []
    boxes = np.concatenate([rng.random((4000, 2)) * 300, 10 + rng.random((4000, 2)) * 90], axis=1)
    for image in range(500):
        assembly.add_image(f"{image}.jpg", (400, 400), "drawn")
        for row in np.flatnonzero(owners == image):
            labels.append(int(rng.integers(num_classes)))
            assembly.add_object(names[labels[-1]], tuple(boxes[row].tolist()))
    truth = assembly.build("", names, labels, tuple(range(1, num_classes + 1)))
    found_at = np.repeat(rng.integers(0, 4000, 5000), 4)
    order = np.argsort(owners[found_at], kind="stable")
    found_at = found_at[order]
    found = DetectionSet(
        images=owners[found_at], labels=np.array(labels, np.int32)[found_at],
        scores=rng.random(len(found_at)),
        boxes=boxes[found_at] + rng.normal(0, 4, (len(found_at), 4)), box_format="coco",
    )  # fmt: skip
    return lambda: evaluate_coco(truth, found, records=False)


def measured(work: Work, rounds: int, smallest: Work) -> tuple[float, float]:
    """Return the median seconds of some runs, and the MiB that the first takes beyond the smallest one."""
    smallest()  # loads the compiled loops
    forget_peak(CPU)
    before = peak_bytes(CPU)
    work()
    memory = (peak_bytes(CPU) - before) / (1 << 20)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), memory


def curve(name: str, of: str, values: Sequence[int], make: Callable[[int], Work], rounds: int) -> Claim:
    """Return the claim of one curve."""
    print(f"{name} against {of} ...", file=sys.stderr, flush=True)
    points = []
    for value in values:
        seconds, memory = in_fresh_process(lambda value=value: measured(make(value), rounds, make(values[0])))
        points.append({"x": value, "seconds": rounded(seconds), "memory_mib": rounded(max(memory, 0.1))})
    return claim_with(name, of, points)


def in_fresh_process(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Return what a forked process measures, whose memory holds nothing of other points.

    This process must not have computed with several threads before: OpenMP's do not survive a fork.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(measure()))
    process.start()
    sender.close()
    try:
        found: tuple[float, float] = receiver.recv()
    finally:
        process.join()
    return found


def claim_with(name: str, of: str, points: list[dict[str, float]]) -> Claim:
    (x1, t1), (x2, t2) = ((point["x"], point["seconds"]) for point in points[-2:])
    exponent = rounded(math.log(t2 / t1) / math.log(x2 / x1))
    text = f"{name} against {of}: at {x2:,}, growing as the power {exponent:.2f} since {x1:,}"
    return claim_of(text, [t2], name=name, of=of, exponent=exponent, curve=points)


def processes(most: int, rounds: int) -> Claim:
    """Return the claim for a batch of eight divided among processes, each with one thread."""
    points = []
    for number in sorted({1, 2, most}):
        if number > most:
            continue
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={number}",
        ]
        done = subprocess.run(
            [*command, __file__, "--worker", "--rounds", str(rounds)],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        points.append({"x": number} | json.loads(done.stdout.splitlines()[-1]))
    return claim_with("training step of 8 images", "processes of one thread", points)


def worker(rounds: int) -> None:
    """Take steps with this process's share of eight images, and print the time and the memory of all."""
    with process_group(CPU):
        share, model = 8 // world_size(), make_model()
        replica = replicate(model, CPU)
        seconds, memory = measured(
            step(replica, make_batch(share)), rounds, step(replica, make_batch(side=SIDE // 2))
        )
        rank = int(os.environ["RANK"])
        if rank == 0:
            total = memory * world_size()
            print(json.dumps({"seconds": rounded(seconds), "memory_mib": rounded(max(total, 0.1))}))


def draw(claims: list[Claim], file: Path) -> None:
    """Write the curves as shares of their largest values, beside a straight line."""
    panels: list[Any] = []
    for claim in claims:
        points = claim["curve"]
        x = np.array([point["x"] for point in points]) / max(point["x"] for point in points)
        lines = [
            Curve(label, x, np.array([point[key] for point in points]) / max(point[key] for point in points))
            for label, key in (("time", "seconds"), ("memory", "memory_mib"))
        ]
        lines.append(Curve("linear", np.array([0.0, 1.0]), np.array([0.0, 1.0])))
        largest = f"{claim['of']}, as shares of {max(point['x'] for point in points):,}"
        panels.append((claim["name"], largest, lines, (0.0, 1.0)))
    file.write_text(curves_as_svg(panels), encoding="utf-8")


def all_curves(rounds: int, quick: bool) -> list[Claim]:
    def values(*given: int) -> tuple[int, ...]:
        return given[:2] if quick else given

    sides, objects, classes = (
        values(128, 256, 512, 1024),
        values(1, 10, 100, 1000),
        values(1, 20, 80, 300, 1203),
    )
    return [
        curve("detection", "pixels of an image", [s * s for s in sides],
              lambda n: detection(make_model(), make_batch(side=math.isqrt(n))), rounds),
        curve("training step", "pixels of an image", [s * s for s in sides],
              lambda n: step(make_model(), make_batch(side=math.isqrt(n))), rounds),
        curve("detection", "images of a batch", values(1, 2, 4, 8, 16),
              lambda n: detection(make_model(), make_batch(n)), rounds),
        curve("training step", "images of a batch", values(1, 2, 4, 8, 16),
              lambda n: step(make_model(), make_batch(n)), rounds),
        curve("training step", "objects of an image", objects,
              lambda n: step(make_model(), make_batch(objects=n)), rounds),
        curve("detection", "proposals", values(100, 300, 1000, 2000),
              lambda n: detection(make_model(proposals=n), make_batch(side=512)), rounds),
        curve("detection", "classes", classes,
              lambda n: detection(make_model(n), make_batch()), rounds),
        curve("training step", "classes", classes,
              lambda n: step(make_model(n), make_batch(num_classes=n)), rounds),
        curve("COCO evaluation of 20,000 boxes", "classes", classes, evaluation, rounds),
        processes(2, rounds),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two points a curve")
    parser.add_argument("--picture", type=Path, help="an SVG file")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.rounds)
    claims = all_curves(options.rounds, options.quick)
    if options.picture:
        draw(claims, options.picture)
    deliver(claims, options.json)
    return None


if __name__ == "__main__":
    main()
