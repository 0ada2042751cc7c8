"""Faster R-CNN with ResNet-50 and FPN: detkit beside torchvision, interleaved, on the same weights.

Detection of one image of 800 x 608 pixels, and a training step of two with two frozen stages, frozen
norms and SGD; each in float32 and, where the processor computes in it, under bfloat16 autocast. The
weights are random, calibrated so that detections come out. Both toolkits get their pixels as their own
loaders give them: uint8 and channels-last, or float in [0, 1]. Answers are compared in float32;
tests/parity compares the training losses, too.

Each row of detection says what the machine would need if it did nothing but the model's convolutions
and matrix products at the rates it reaches in one large one of each (PyTorch's convolution; ours, in float32
by Winograd's method where that pays, has fewer multiplications and can be faster than this). `--profile`
prints where our time goes.

Wall-clock seconds on all of PyTorch's threads; `--cpu` measures processor seconds on one, which other
work on the machine disturbs less.

    python benchmarks/faster_rcnn.py [--rounds 5] [--cpu] [--profile] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from measuring.turns import Claim, Clock, claim_of, deliver, in_turns, rounded
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.faster_rcnn.torchvision import from_torchvision
from detkit.models.norm import folds_kept
from detkit.runtime.device import choose_precision
from detkit.structures import Detections, ImageBatch, Target, TrainBatch
from tests.reference.calibration import calibrate

SIZE = (608, 800)  # torchvision pads sides to multiples of 32
NUM_CLASSES = 20
PEER = f"torchvision {torchvision.__version__}"


def make_models(size: tuple[int, int] = SIZE) -> tuple[nn.Module, nn.Module]:
    """Return our model and torchvision's with the same weights, the first two stages frozen."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=3
    )
    limits = {"min_size": min(size), "max_size": max(size)}
    calibrated = FasterRCNN(backbone, NUM_CLASSES + 1, **limits).eval()
    calibrate(calibrated, [photo(0, size) / 255])
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    theirs = FasterRCNN(backbone, NUM_CLASSES + 1, **limits)
    theirs.load_state_dict(
        {k: v for k, v in calibrated.state_dict().items() if not k.endswith("num_batches_tracked")}
    )
    spec = FasterRCNNConfig.model_validate(
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


def photo(number: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Draw an image with large and small structure: (3, H, W) uint8."""
    noise = torch.Generator().manual_seed(number)
    layers = [torch.rand(1, 3, *cells, generator=noise) for cells in ((8, 10), (75, 100))]
    mixed = sum(nn.functional.interpolate(layer, size, mode="bilinear") for layer in layers)
    return (127.5 * mixed[0]).to(torch.uint8)


def make_batch(num: int, size: tuple[int, int] = SIZE) -> TrainBatch:
    """Return images with ten objects each, a quarter of the image wide and high at most."""
    draw = torch.Generator().manual_seed(0)
    targets = []
    limits = torch.tensor([float(size[1]), float(size[0])])
    for number in range(num):
        corner = torch.rand(10, 2, generator=draw) * 0.7 * limits
        sides = (0.05 + 0.2 * torch.rand(10, 2, generator=draw)) * limits
        labels = torch.randint(NUM_CLASSES, (10,), generator=draw)
        targets.append(Target.of(torch.cat((corner, corner + sides), dim=1), labels, number))
    pixels = torch.stack([photo(number, size) for number in range(num)])
    images = ImageBatch(pixels.contiguous(memory_format=torch.channels_last), (size,) * num, (size,) * num)
    return TrainBatch(images, tuple(targets))


def labelled_for_torchvision(batch: TrainBatch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return the same images as floats and the same objects, class 0 being the background."""
    images = [image.contiguous() / 255 for image in batch.images.pixels]
    return images, [{"boxes": target.boxes, "labels": target.labels + 1} for target in batch.targets]


def same_detections(found: Detections, peer: dict[str, Tensor]) -> bool:
    """Return whether both found the same: as many, boxes within 0.01 px and scores within 1e-4."""
    return len(found) == len(peer["scores"]) and share_found(found, peer, 0.01, 1e-4) == 1.0


def share_found(
    found: Detections, peer: dict[str, Tensor], apart_px: float = 1.0, apart_score: float = 0.05
) -> float:
    """Return the share of our detections that the peer has, too, so near and with such a score."""
    apart = torch.cdist(found.boxes.cpu(), peer["boxes"].cpu(), p=float("inf"))
    apart[found.labels.cpu()[:, None] != peer["labels"].cpu() - 1] = float("inf")
    distance, partner = apart.min(dim=1)
    scores = (found.scores.cpu() - peer["scores"].cpu()[partner]).abs()
    return float(((distance < apart_px) & (scores < apart_score)).float().mean())


def training_step(
    model: nn.Module, losses: Callable[[], dict[str, Tensor]], *, fused: bool = False
) -> Callable[[], None]:
    """Return a function that computes losses and gradients and changes the weights by very little."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, fused=fused)

    def step() -> None:
        total = torch.stack(list(losses().values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step


def floor_seconds(run: Callable[[], object], kind: torch.dtype) -> float:
    """Return the time of a run's convolutions and matrix products alone, at the machine's best rates."""
    with FlopCounterMode(display=False) as counter:
        run()
    counted = counter.get_flop_counts()["Global"]
    convolutions = sum(number for name, number in counted.items() if "convolution" in str(name))
    products = sum(counted.values()) - convolutions
    cells = torch.randn(1, 256, 100, 128, dtype=kind).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, dtype=kind).contiguous(memory_format=torch.channels_last)
    a, b = torch.randn(1000, 12544, dtype=kind), torch.randn(12544, 1024, dtype=kind)
    return convolutions / best_rate(
        lambda: nn.functional.conv2d(cells, weight, padding=1), 2 * 256 * 256 * 9 * 100 * 128
    ) + products / best_rate(lambda: a @ b, 2 * 1000 * 12544 * 1024)


def best_rate(run: Callable[[], object], operations: float) -> float:
    """Return operations a second, the best of four runs."""
    return operations / min(in_turns({"it": run}, 4)["it"])


def show_profile(what: str, run: Callable[[], object]) -> None:
    """Print what one run spends its time in."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    print(what)
    print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


def measure(
    models: tuple[nn.Module, nn.Module], kind: torch.dtype, rounds: int, clock: Clock, *, profiles: bool
) -> list[Claim]:
    """Return the claims of one precision."""
    ours, theirs = models
    name = str(kind).removeprefix("torch.")
    one, two = make_batch(1).images, make_batch(2)
    images, labelled = labelled_for_torchvision(two)
    ours.eval()
    theirs.eval()

    @torch.inference_mode()
    def find() -> list[Detections]:
        return ours.detect(one)

    @torch.inference_mode()
    def find_theirs() -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = theirs(images[:1])
        return found

    with folds_kept(ours):  # as `detkit predict` and `detkit eval` do
        taken = in_turns({"ours": find, "peer": find_theirs}, rounds, clock)
        same = same_detections(find()[0], find_theirs()[0]) if kind == torch.float32 else None
        floor = floor_seconds(find_theirs, kind)  # whose convolutions all count as such
        if profiles:
            show_profile(f"detection, {name}", find)
    what = f"{SIZE[1]} x {SIZE[0]}, {name}"
    claims = [
        claim_of(
            f"detection, one image of {what}", taken["ours"], PEER, taken["peer"],
            same_answer=same, floor_s=rounded(floor),
        )
    ]  # fmt: skip
    ours.train()
    theirs.train()
    step = training_step(ours, lambda: ours(two))
    their_step = training_step(theirs, lambda: theirs(images, labelled))
    taken = in_turns({"ours": step, "peer": their_step}, rounds, clock)
    if profiles:
        show_profile(f"training step, {name}", step)
    return [*claims, claim_of(f"training step, two images of {what}", taken["ours"], PEER, taken["peer"])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cpu", action="store_true", help="processor seconds on one thread")
    parser.add_argument("--profile", action="store_true", help="print where our time goes")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    if options.cpu:
        torch.set_num_threads(1)
    models = make_models()
    claims = measure(models, torch.float32, options.rounds, clock, profiles=options.profile)
    reduced = choose_precision("auto", torch.device("cpu"))
    if reduced is None:
        print("no bfloat16: this processor does not compute in it", file=sys.stderr)
    else:
        with torch.autocast("cpu", reduced):
            rows = measure(models, reduced, options.rounds, clock, profiles=options.profile)
        for row, exact in zip(rows, claims, strict=True):
            row["peer_float32_s"] = exact["peer_s"]
            row["ratio_to_peer_float32"] = rounded(exact["peer_s"] / row["ours_s"])
        claims = claims + rows
    deliver(claims, options.json)


if __name__ == "__main__":
    main()
