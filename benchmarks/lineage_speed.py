"""What Fast R-CNN and Faster R-CNN bought in speed: VGG16 at the papers' sizes.

R-CNN cuts out 2,000 proposals, warps them to 224 x 224 and reads each by itself; Fast R-CNN reads the image
once, at 600 x 800 pixels, and pools the same proposals from its map, with whole fully connected layers and
with thin ones (truncated SVD, 1024 and 256). In training R-CNN learns all layers from 128 crops, Fast R-CNN
those from conv3_1 on from 128 regions of two images. Then the proposals themselves: selective search beside
a proposal network.

Everything is detkit's own code as users run it, decoding of the image file excluded. Weights are random,
which costs as much as trained ones. R-CNN's time for 2,000 crops is measured on some of them and multiplied;
all else is measured whole. Beside the measured ratio stands that of the arithmetic, counted in the same run
by PyTorch's operation counter: the ratio that a processor gives which is as fast in all of it.

Both sides: channels-last, PyTorch's threads, float32 (or --precision bf16 for both); VGG16 has no norms to
fold. The photograph is one of scikit-learn's, 500 x 375 pixels; proposals are what selective search finds in
it, filled up or cut to 2,000.

    python benchmarks/lineage_speed.py [--quick] [--rounds 3] [--precision bf16] [--device cuda] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring.turns import claim_of, machine

from detkit.data.regions.batch import RegionBatch
from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.faster_rcnn.model import ProposalNetwork
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.ops import convolution
from detkit.ops.warp import Cuts, plan_warp
from detkit.proposals.selective_search.search import SelectiveSearch
from detkit.runtime.cores import num_cores
from detkit.structures import ImageBatch, Target, TrainBatch

NUM_CLASSES, NUM_PROPOSALS, NUM_TRAINED = 20, 2000, 128
HEIGHT, WIDTH = 375, 500  # of the file; 600 x 800 for a detector that reads it whole
VGG16 = {"type": "vgg", "depth": 16}
PARTS: dict[str, Any] = {
    "backbone": VGG16,
    "regions": {"type": "roi_pool", "size": 7},
    "head": {"type": "fc6_fc7"},
}
PAPERS = {"test": "146x", "svd": "213x", "train": "8.8x", "proposals": "150x"}


@dataclass
class Work:
    """One side of a comparison.

    Attributes:
        run: does it.
        share: of the whole that it does; times and operations are divided by it.
        seconds: measured so far, of the whole.
        flop: multiplications and additions of the whole; None where they are not counted.
    """

    run: Callable[[], object]
    share: float = 1.0
    seconds: list[float] = field(default_factory=list)
    flop: float | None = None

    @property
    def median(self) -> float:
        """Seconds of the whole."""
        return statistics.median(self.seconds)


def photograph() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the (375, 500, 3) uint8 RGB pixels of one of scikit-learn's photographs."""
    picture = load_sample_image("china.jpg")
    return np.ascontiguousarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))


def proposals_of(picture: np.ndarray[Any, Any]) -> Tensor:
    """Return (2000, 4) boxes in pixels of the picture: selective search's, then random ones."""
    found = torch.tensor(SelectiveSearch("fast", 0, NUM_PROPOSALS, num_cores())(picture).boxes)
    noise = torch.Generator().manual_seed(0)
    corner = torch.rand(NUM_PROPOSALS, 2, generator=noise) * torch.tensor([WIDTH - 60.0, HEIGHT - 60.0])
    sides = 20 + 200 * torch.rand(NUM_PROPOSALS, 2, generator=noise)
    limit = torch.tensor([float(WIDTH), float(HEIGHT)])
    more = torch.cat([corner, torch.minimum(corner + sides, limit)], 1)
    return torch.cat([found, more])[:NUM_PROPOSALS].clone()


def image_batch(picture: np.ndarray[Any, Any], boxes: Tensor, factor: float, num: int = 1) -> ImageBatch:
    """Return copies of the picture, enlarged by a factor, with their proposals."""
    size = (round(HEIGHT * factor), round(WIDTH * factor))
    large = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR) if factor != 1 else picture
    pixels = torch.from_numpy(large).permute(2, 0, 1)[None].repeat(num, 1, 1, 1)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return ImageBatch(pixels, (size,) * num, ((HEIGHT, WIDTH),) * num, (boxes * factor,) * num)


def targets_near(boxes: Tensor, num: int) -> tuple[Target, ...]:
    """Return targets whose objects are some of the proposals, a little smaller, so that regions abound."""
    sides = boxes[:, 2:] - boxes[:, :2]
    large = boxes[(sides > 60).all(1)][:8]
    inside = large + torch.tensor([4.0, 4.0, -4.0, -4.0])
    labels = torch.arange(len(inside)) % NUM_CLASSES
    return tuple(Target.of(inside, labels, image) for image in range(num))


def crop_batch(picture: np.ndarray[Any, Any], boxes: Tensor) -> RegionBatch:
    """Return regions for R-CNN's fine-tuning, a quarter of them with an object."""
    table = torch.from_numpy(picture).reshape(-1, 3)
    cuts = Cuts.in_image(plan_warp(boxes.numpy(), (HEIGHT, WIDTH), 224, 16, square=False), WIDTH)
    labels = torch.full((len(boxes),), NUM_CLASSES)
    labels[: len(boxes) // 4] = torch.arange(len(boxes) // 4) % NUM_CLASSES
    return RegionBatch(table, cuts, labels, (0,) * len(boxes))


def training_step(model: nn.Module, batches: Sequence[Any]) -> Callable[[], None]:
    """Return a step of SGD over a batch in parts, each of which counts by its size."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True)
    total = sum(len(batch) for batch in batches)

    def step() -> None:
        optimizer.zero_grad()
        for batch in batches:
            losses = torch.stack(list(model(batch).values())).sum() * (len(batch) / total)
            losses.backward()
        optimizer.step()

    return step


def rcnn() -> nn.Module:
    spec = {
        "type": "rcnn",
        "backbone": VGG16,
        "proposals": {"type": "selective_search"},
        "regions": {"type": "warp", "size": 224},
        "head": {"type": "svm", "features": "fc7"},
    }
    return build_detector(RCNNConfig.model_validate(spec), NUM_CLASSES, seed=0)


def fast_rcnn() -> nn.Module:
    spec = {"type": "fast_rcnn", "proposals": {"type": "selective_search"}, **PARTS}
    model = build_detector(FastRCNNConfig.model_validate(spec), NUM_CLASSES, seed=0)
    for number, layer in enumerate(model.backbone.features):
        layer.requires_grad_(number >= 10)  # from conv3_1 on
    return model


def proposal_network() -> ProposalNetwork:
    spec = {"type": "faster_rcnn", "proposals": {"type": "rpn"}, **PARTS}
    whole: Any = build_detector(FasterRCNNConfig.model_validate(spec), NUM_CLASSES, seed=0)
    return ProposalNetwork(whole.backbone, whole.neck, whole.rpn)


class Bench:
    """Measures pairs in turns and keeps the claims.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.device, self.rounds = torch.device(options.device), options.rounds
        self.bf16 = options.precision == "bf16"
        self.claims: list[dict[str, object]] = []

    def measure(self, works: Sequence[Work], *, counts: bool = True) -> None:
        """Count the operations of each work, then time all of them in turns."""
        for work in works:
            counter = FlopCounterMode(display=False)
            with self._arithmetic():
                work.run()  # warms up, and compiles our loops
            if counts:  # convolutions as what they are, by whatever method they are computed
                plainly = mock.patch.object(convolution, "_is_ours", return_value=False)
                with self._arithmetic(), plainly, counter:
                    work.run()
            work.flop = counter.get_total_flops() / work.share if counts else None
        for _ in range(self.rounds):
            for work in works:
                self._wait()
                start = time.perf_counter()
                with self._arithmetic():
                    work.run()
                self._wait()
                work.seconds.append((time.perf_counter() - start) / work.share)

    def claim(self, text: str, ours: Work, theirs: Work, peer: str, paper: str) -> None:
        """Note a claim and print it: measured ratio, ratio of the arithmetic, and how much of it was had."""
        arithmetic = theirs.flop / ours.flop if ours.flop and theirs.flop else None
        share = None if arithmetic is None else theirs.median / ours.median / arithmetic
        claim = claim_of(
            text,
            ours.seconds,
            peer,
            theirs.seconds,
            arithmetic_ratio=arithmetic,
            share_of_arithmetic=share,
            ours_gflop=None if ours.flop is None else ours.flop / 1e9,
            peer_gflop=None if theirs.flop is None else theirs.flop / 1e9,
            paper_on_a_gpu=paper,
        )
        claim["machine"] = self.machine
        self.claims.append(claim)
        line = f"{text}: {claim['ours_s']} s, {peer} {claim['peer_s']} s, {claim['ratio']:.3g}x"
        if arithmetic is not None:
            line += f"; arithmetic {arithmetic:.1f}x, {share:.3f} of it had"
        print(f"{line} (the paper, on a GPU: {paper})", flush=True)

    @property
    def machine(self) -> str:
        """What it was measured on."""
        where = "" if self.device.type == "cpu" else f"{torch.cuda.get_device_name(self.device)}, "
        return f"{where}{machine()}, {'bf16 autocast' if self.bf16 else 'float32'}"

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def at_test(bench: Bench, picture: np.ndarray[Any, Any], boxes: Tensor, num_crops: int) -> None:
    """R-CNN beside Fast R-CNN, without and with truncated SVD."""
    device = bench.device
    models = [model.to(device).eval() for model in (rcnn(), fast_rcnn())]
    models.append(copy.deepcopy(models[1]))
    thin: Any = models[2]
    thin.roi_head.head.compress((1024, 256))
    spread = boxes[torch.linspace(0, len(boxes) - 1, num_crops).long()]
    crops = image_batch(picture, spread, 1.0).to(device)
    whole = image_batch(picture, boxes, 600 / HEIGHT).to(device)
    slow, fast, svd = (
        Work(lambda model=model, images=images: model.detect(images), share)
        for model, images, share in zip(
            models, (crops, whole, whole), (num_crops / len(boxes), 1.0, 1.0), strict=True
        )
    )
    distinct = len(models[1].roi_head.features.distinct(whole.proposals)[0][0])
    print(
        f"{len(boxes)} proposals, {distinct} of them differ on Fast R-CNN's map; {num_crops} crops measured"
    )
    with torch.inference_mode():
        bench.measure([slow, fast, svd])
    peer = f"R-CNN, {num_crops} of {len(boxes)} crops, scaled"
    bench.claim("Fast R-CNN VGG16 at test, 2,000 proposals", fast, slow, peer, PAPERS["test"])
    bench.claim("Fast R-CNN VGG16 at test, 2,000 proposals, SVD", svd, slow, peer, PAPERS["svd"])


def in_training(bench: Bench, picture: np.ndarray[Any, Any], boxes: Tensor, parts: int, at_once: int) -> None:
    """A step of R-CNN on 128 crops beside one of Fast R-CNN on 128 regions of two images."""
    device = bench.device
    slow, fast = rcnn().to(device).train(), fast_rcnn().to(device).train()
    spread = boxes[torch.linspace(0, len(boxes) - 1, NUM_TRAINED).long()]
    crops = crop_batch(picture, spread).to(device)
    lots = [crops.part(start, start + at_once) for start in range(0, parts * at_once, at_once)]
    images = image_batch(picture, boxes, 600 / HEIGHT, num=2)
    batch = TrainBatch(images, targets_near(images.proposals[0], 2)).to(device)
    drawn = [
        len(fast.roi_head.sample(own, target, 0).labels)
        for own, target in zip(batch.images.proposals, batch.targets, strict=True)
    ]
    print(f"a training step: {drawn} regions, {parts * at_once} of {NUM_TRAINED} crops measured")
    theirs = Work(training_step(slow, lots), parts * at_once / NUM_TRAINED)
    ours = Work(training_step(fast, [batch]))
    bench.measure([theirs, ours])
    peer = f"R-CNN, {parts * at_once} of 128 crops, {at_once} at a time"
    bench.claim("Fast R-CNN VGG16, a training step", ours, theirs, peer, PAPERS["train"])


def looking(bench: Bench, picture: np.ndarray[Any, Any]) -> None:
    """A proposal network beside selective search; with the convolutions that the head shares, and without."""
    network = proposal_network().to(bench.device).eval()
    images = image_batch(picture, torch.zeros(0, 4), 600 / HEIGHT).to(bench.device)
    search = SelectiveSearch("fast", 0, NUM_PROPOSALS, num_cores())
    limits, sizes = network.rpn.test_limits, images.sizes
    with torch.inference_mode():
        maps = network.neck(network.backbone(network.prepare(images)))
        works = [
            Work(lambda: search(picture)),
            Work(lambda: network.rpn.propose(network.rpn(maps, sizes), sizes, limits)),
            Work(lambda: network.propose(network.feature_maps(images), sizes, limits)),
        ]
        bench.measure(works, counts=False)
    peer = f"selective search, fast mode, {num_cores()} threads"
    bench.claim("Region proposal network on the shared map", works[1], works[0], peer, PAPERS["proposals"])
    bench.claim("Region proposal network with its convolutions", works[2], works[0], peer, "10x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer crops and one round: a few minutes")
    parser.add_argument("--rounds", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--only", choices=("test", "train", "proposals"), help="one of the three comparisons")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    picture, bench = photograph(), Bench(options)
    boxes = proposals_of(picture)
    on_gpu = bench.device.type == "cuda"
    if options.only in (None, "test"):
        at_test(bench, picture, boxes, NUM_PROPOSALS if on_gpu else 16 if options.quick else 64)
    if options.only in (None, "train"):
        in_training(bench, picture, boxes, *((1, 128) if on_gpu else (1, 16) if options.quick else (4, 32)))
    if options.only in (None, "proposals"):
        looking(bench, picture)
    if options.json:
        options.json.write_text(json.dumps(bench.claims, indent=1))


if __name__ == "__main__":
    main()
