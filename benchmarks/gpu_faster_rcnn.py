"""Faster R-CNN with ResNet-50 and FPN on a CUDA card: detkit beside torchvision, eager and compiled.

Detection of one image and of eight, and a training step of eight, at 800 x 1333 pixels, in float32,
bfloat16 and float16, with the same weights. Each row says how many images a second, the most memory,
the share of the time in which a kernel ran, and the share of the card's measured ceiling: the rate of
a large matrix product in the same precision. Float32 is PyTorch's default: TF32 in convolutions, not
in matrix products.

Without a CUDA card nothing is measured and the list of claims is empty. `--device cpu` runs the same
code small, to see that it works.

    python benchmarks/gpu_faster_rcnn.py [--rounds 10] [--no-compile] [--json FILE]
    python benchmarks/gpu_faster_rcnn.py --device cpu --size 64 96 --batches 1 2 --rounds 1 --no-compile
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from faster_rcnn import labelled_for_torchvision, make_batch, make_models, share_found, training_step
from measuring.turns import Claim, claim_of, deliver, in_turns, rounded
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from detkit.models.compilation import compile_maps
from detkit.models.norm import keep_folds
from detkit.structures import TrainBatch

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setting:
    """What is measured: how, on what and in which precision."""

    device: torch.device
    batch: TrainBatch
    trains: bool
    precision: torch.dtype | None

    @property
    def name(self) -> str:
        """What the claim is about."""
        height, width = self.batch.images.sizes[0]
        what = "training step" if self.trains else "detection"
        kind = str(self.precision or torch.float32).removeprefix("torch.")
        return f"{what}, {len(self.batch)} image(s) of {height} x {width}, {kind}"


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_of(ours: bool, model: nn.Module, setting: Setting) -> Callable[[], Any]:
    """Return a function that works once through the batch and waits until the card is done."""
    batch, device = setting.batch, setting.device
    images, labelled = labelled_for_torchvision(batch)

    def detect() -> Any:
        with torch.inference_mode():
            return model.detect(batch.images) if ours else model(images)

    work: Callable[[], Any] = detect
    if setting.trains:
        losses = (lambda: model(batch)) if ours else (lambda: model(images, labelled))
        work = training_step(model, losses, fused=device.type == "cuda")

    def run() -> Any:
        with torch.autocast(device.type, setting.precision, enabled=setting.precision is not None):
            result = work()
        wait(device)
        return result

    return run


def busy_share(run: Callable[[], Any], device: torch.device) -> float | None:
    """Return the share of the time in which a kernel ran, over three runs; None without a card."""
    if device.type != "cuda":
        return None
    start = time.perf_counter()
    for _ in range(3):
        run()
    seconds = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CUDA]) as kernels:
        for _ in range(3):
            run()
    busy = sum(event.self_device_time_total for event in kernels.key_averages()) / 1e6
    return rounded(min(1.0, busy / seconds))


def peak_mib(run: Callable[[], Any], device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return rounded(torch.cuda.max_memory_allocated(device) / (1 << 20))


def ceiling(setting: Setting, size: int) -> float:
    """Return the operations a second of a large matrix product, the best of five."""
    kind = setting.precision or torch.float32
    a, b = (torch.randn(size, size, device=setting.device, dtype=kind) for _ in range(2))
    taken = []
    for _ in range(6):
        wait(setting.device)
        start = time.perf_counter()
        a @ b
        wait(setting.device)
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / min(taken[1:])


def operations(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def measure(setting: Setting, models: dict[str, nn.Module], rounds: int, gemm: int) -> list[Claim]:
    for model in models.values():
        model.train(setting.trains)
    runs = {name: run_of(name.startswith("detkit"), model, setting) for name, model in models.items()}
    same = None
    if not setting.trains:
        answers = [runs[name]() for name in ("detkit", "torchvision")]
        same = share_found(answers[0][0], answers[1][0]) > 0.9
    work, most = operations(runs["detkit"]), ceiling(setting, gemm)
    memory = {name: peak_mib(run, setting.device) for name, run in runs.items()}
    taken = in_turns(runs, rounds)
    claims = []
    for name, peer in PAIRS:
        if name not in taken or peer not in taken:
            continue
        claim = claim_of(
            f"{setting.name}, {name}", taken[name], f"{peer} {torchvision.__version__}", taken[peer],
            same_answer=same,
        )  # fmt: skip
        claim["images_per_second"] = rounded(len(setting.batch) / claim["ours_s"])
        claim["peer_images_per_second"] = rounded(len(setting.batch) / claim["peer_s"])
        claim["memory_mib"], claim["peer_memory_mib"] = memory[name], memory[peer]
        claim["gpu_busy"] = busy_share(runs[name], setting.device)
        claim["peer_gpu_busy"] = busy_share(runs[peer], setting.device)
        claim["share_of_ceiling"] = rounded(work / claim["ours_s"] / most)
        claim["ceiling_tflops"] = rounded(most / 1e12)
        claims.append(claim)
    return claims


PAIRS = (
    ("detkit", "torchvision"),
    ("detkit", "torchvision compiled"),
    ("detkit compiled", "torchvision"),
    ("detkit compiled", "torchvision compiled"),
)


def make_all(
    device: torch.device, size: tuple[int, int], trains: bool, compiles: bool
) -> dict[str, nn.Module]:
    """Return every side's model with the same weights, on the device."""
    models: dict[str, nn.Module] = {}
    for suffix in ("", " compiled") if compiles else ("",):
        ours, theirs = (model.to(device, memory_format=torch.channels_last) for model in make_models(size))
        theirs = theirs.to(memory_format=torch.contiguous_format)  # as torchvision's own scripts have it
        if not trains:
            keep_folds(ours)
        if suffix:
            compile_maps(ours)
            theirs.backbone.compile(dynamic=False)  # one size here, as suits it best
        models |= {f"detkit{suffix}": ours, f"torchvision{suffix}": theirs}
    return models


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1333), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batches", type=int, nargs=2, default=(1, 8), metavar=("FEW", "MANY"))
    parser.add_argument("--gemm", type=int, default=8192, help="side of the matrices of the ceiling")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled forms out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "no CUDA card here: nothing measured (--device cpu --size 64 96 tries the code)", file=sys.stderr
        )
        return deliver([], options.json)
    device, claims = torch.device(options.device), []
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    precisions = list(PRECISIONS.values()) if device.type == "cuda" else [None]
    few, many = options.batches
    for trains, numbers in ((False, (few, many)), (True, (many,))):
        models = make_all(device, tuple(options.size), trains, not options.no_compile)
        for number in numbers:
            batch = make_batch(number, tuple(options.size)).to(device)
            for precision in precisions:
                setting = Setting(device, batch, trains, precision)
                claims += measure(setting, models, options.rounds, options.gemm)
        del models
        gc.collect()
    deliver([claim | {"card": card} for claim in claims], options.json)
    return None


if __name__ == "__main__":
    main()
