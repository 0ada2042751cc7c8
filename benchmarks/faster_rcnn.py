"""Faster R-CNN with ResNet-50 and FPN: detkit beside torchvision, interleaved, on the same weights.

Detection of one image of 800 x 608 pixels, and a training step of two with two frozen stages, frozen
norms and SGD; each in float32 and under bfloat16 autocast. The weights are random, calibrated so that
detections come out. Both toolkits get their pixels as their own loaders give them: uint8 and channels-last,
or float in [0, 1]. Answers are compared in float32; tests/parity compares the training losses, too.

Wall-clock seconds on all of PyTorch's threads; `--cpu` measures processor seconds on one, which other
work on the machine disturbs less.

    python benchmarks/faster_rcnn.py [--rounds 5] [--cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detkit.build.detector import build_detector
from detkit.config.faster_rcnn import FasterRCNN as Spec
from detkit.inference.weights import from_torchvision
from detkit.structures import Detections, ImageBatch, Target, TrainBatch
from tests.reference.calibration import calibrate

HEIGHT, WIDTH, NUM_CLASSES = 608, 800, 20  # torchvision pads sides to multiples of 32

Clock = Callable[[], float]


def make_models(image: Tensor) -> tuple[nn.Module, nn.Module]:
    """Return our model and torchvision's with the same weights, the first two stages frozen."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=3
    )
    size = {"min_size": HEIGHT, "max_size": WIDTH}
    calibrated = FasterRCNN(backbone, NUM_CLASSES + 1, **size).eval()
    calibrate(calibrated, [image / 255])
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    theirs = FasterRCNN(backbone, NUM_CLASSES + 1, **size)
    theirs.load_state_dict(
        {k: v for k, v in calibrated.state_dict().items() if not k.endswith("num_batches_tracked")}
    )
    spec = Spec.model_validate(
        {
            "type": "faster_rcnn",
            "backbone": {"type": "resnet", "depth": 50},
            "neck": {"type": "fpn"},
            "proposals": {"type": "rpn"},
            "regions": {"type": "roi_align", "aligned": False},
            "head": {"type": "two_fc"},
        }
    )
    ours = build_detector(spec, NUM_CLASSES, seed=0)
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    for part in (ours.backbone.conv1, ours.backbone.layer1):
        part.requires_grad_(False)
    return ours, theirs


def photo(number: int) -> Tensor:
    """Draw an image with large and small structure: (3, H, W) uint8."""
    noise = torch.Generator().manual_seed(number)
    layers = [torch.rand(1, 3, *cells, generator=noise) for cells in ((8, 10), (75, 100))]
    mixed = sum(nn.functional.interpolate(layer, (HEIGHT, WIDTH), mode="bilinear") for layer in layers)
    return (127.5 * mixed[0]).to(torch.uint8)


def make_batch(num: int) -> TrainBatch:
    """Return images with ten objects each."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((HEIGHT, WIDTH),) * num
    targets = []
    for number in range(num):
        corner = torch.rand(10, 2, generator=draw) * torch.tensor([WIDTH - 200.0, HEIGHT - 200.0])
        sides = 30 + 170 * torch.rand(10, 2, generator=draw)
        labels = torch.randint(NUM_CLASSES, (10,), generator=draw)
        targets.append(Target.of(torch.cat((corner, corner + sides), dim=1), labels, number))
    pixels = torch.stack([photo(number) for number in range(num)])
    images = ImageBatch(pixels.contiguous(memory_format=torch.channels_last), sizes, sizes)
    return TrainBatch(images, tuple(targets))


def same_detections(found: Detections, peer: dict[str, Tensor]) -> bool:
    """Return whether both found the same: as many, boxes within 0.01 px and scores within 1e-4."""
    apart = torch.cdist(found.boxes, peer["boxes"], p=float("inf"))
    apart[found.labels[:, None] != peer["labels"] - 1] = float("inf")
    distance, partner = apart.min(dim=1)
    scores = (found.scores - peer["scores"][partner]).abs()
    return len(found) == len(peer["scores"]) and bool(distance.max() < 1e-2) and bool(scores.max() < 1e-4)


def training_step(model: nn.Module, losses: Callable[[], dict[str, Tensor]]) -> Callable[[], None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9)

    def step() -> None:
        total = torch.stack(list(losses().values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step


def interleave(
    claim: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int, clock: Clock
) -> dict[str, object]:
    """Return the medians of both, taken in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for run, taken in zip((ours, theirs), seconds, strict=True):
            start = clock()
            run()
            if number:  # the first round warms up and compiles our loops
                taken.append(clock() - start)
    ours_s, peer_s = (statistics.median(taken) for taken in seconds)
    return {
        "claim": claim,
        "ours_s": ours_s,
        "peer": f"torchvision {torchvision.__version__}",
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "same_answer": None,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cpu", action="store_true", help="processor seconds on one thread")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    if options.cpu:
        torch.set_num_threads(1)
    one, two = make_batch(1).images, make_batch(2)
    ours, theirs = make_models(one.pixels[0])
    floats = [image.contiguous() / 255 for image in two.images.pixels]
    labelled = [{"boxes": target.boxes, "labels": target.labels + 1} for target in two.targets]

    def find_theirs() -> list[dict[str, Tensor]]:
        with torch.no_grad():
            found: list[dict[str, Tensor]] = theirs(floats[:1])
        return found

    claims = []
    for precision in ("float32", "bfloat16"):
        reduced = (
            torch.autocast("cpu", torch.bfloat16) if precision != "float32" else contextlib.nullcontext()
        )
        with reduced:
            ours.eval()
            theirs.eval()
            claim = f"detection, one image of {WIDTH} x {HEIGHT}, {precision}"
            measured = interleave(claim, lambda: ours.detect(one), find_theirs, options.rounds, clock)
            if precision == "float32":
                measured["same_answer"] = same_detections(ours.detect(one)[0], find_theirs()[0])
            claims.append(measured)
            ours.train()
            theirs.train()
            steps = (
                training_step(ours, lambda: ours(two)),
                training_step(theirs, lambda: theirs(floats, labelled)),
            )
            claim = f"training step, two images of {WIDTH} x {HEIGHT}, {precision}"
            claims.append(interleave(claim, *steps, options.rounds, clock))
    for row in claims:
        print(
            f"{row['claim']}: {row['ours_s']:.3f} s, {row['peer']} {row['peer_s']:.3f} s, {row['ratio']:.2f}x"
        )
    if options.json:
        options.json.write_text(json.dumps(claims, indent=1))


if __name__ == "__main__":
    main()
