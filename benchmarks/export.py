"""A whole detector in onnxruntime on the CPU: detkit's export beside detkit itself and torchvision's export.

The Faster R-CNN of torchvision (ResNet-50 with FPN, weights by chance) is imported by detkit, exported by
`detkit export` and, by torch's own exporter of TorchScript, from torchvision; all see the same image. Where
torchvision's cannot be exported, the claim says so and has no peer.

    python benchmarks/export.py [--rounds 5] [--size 320] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from measuring.turns import Claim, claim_of, deliver, in_turns
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from detkit.inference.export.graph import GraphDetector
from detkit.inference.export.onnx_file import run_onnx
from detkit.models.norm import folds_kept
from detkit.runs.predictor import load_detector
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD, ImageBatch
from detkit.workflows.export import export
from detkit.workflows.import_model import import_model

CLASSES = tuple(f"class {number}" for number in range(20))


def main() -> list[Claim]:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=320, help="side of the image in pixels")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        claims = measured(Path(folder), chosen.rounds, chosen.size)
    deliver(claims, chosen.json)
    return claims


def measured(folder: Path, rounds: int, size: int) -> list[Claim]:
    torch.manual_seed(0)
    theirs = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=len(CLASSES) + 1, min_size=size, max_size=size
    ).eval()
    calibrate(theirs.backbone, size)
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    sizes = [f"data.resize={{short_px: {size}, long_px: {size}, like: torchvision}}"]
    import_model(
        folder / "theirs.pth",
        "torchvision",
        out=folder / "model.safetensors",
        classes=CLASSES,
        overrides=sizes,
    )
    written = export(folder / "model.safetensors", "onnx")
    if written.out is None:
        raise SystemExit(f"not the same detections, so nothing to time: {written.difference}")
    ours = load_detector(folder / "model.safetensors").model
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    batch = ImageBatch(pixels, ((size, size),), ((size, size),))
    exported = GraphDetector(run_onnx(written.out), takes_proposals=False)
    runs: dict[str, Any] = {"export": lambda: exported.detect(batch), "detkit": lambda: ours.detect(batch)}
    if session := of_torchvision(theirs, size, folder / "theirs.onnx"):
        mean, std = (torch.tensor(of).view(3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
        image = np.ascontiguousarray((pixels[0] * std + mean).numpy())  # it normalises by itself
        runs["torchvision"] = lambda: session.run(None, {session.get_inputs()[0].name: image})
    with torch.inference_mode(), folds_kept(ours):
        taken = in_turns(runs, rounds)
    text = f"Faster R-CNN, ResNet-50 FPN, {size} px, onnxruntime"
    same = written.difference.alone == 0
    claims = [claim_of(text, taken["export"], "detkit in PyTorch", taken["detkit"], same_answer=same)]
    if "torchvision" in taken:
        found = len(runs["torchvision"]()[0]), len(exported.detect(batch)[0].boxes)
        others = f"torchvision's export, which finds {found[0]} boxes where {found[1]} are"
        peer = "torchvision's export" if found[0] == found[1] else others
        same = found[0] == found[1]
        claims.append(claim_of(text, taken["export"], peer, taken["torchvision"], same_answer=same))
    else:
        claims.append(claim_of(f"{text}; torchvision's could not be exported", taken["export"]))
    return claims


@torch.no_grad()
def calibrate(backbone: nn.Module, size: int) -> None:
    """Give norms the statistics of noise: with random weights alone, values grow from block to block."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all that is seen
    backbone.train()
    backbone(torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1)))
    backbone.eval()


def of_torchvision(model: nn.Module, size: int, file: Path) -> Any:
    """Return torchvision's detector in onnxruntime; None where torch's exporter fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, ([torch.rand(3, size, size)],), file, opset_version=17, dynamo=False)
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever an exporter raises
        print(f"torchvision's export: {type(error).__name__}: {str(error)[:200]}")
        return None


if __name__ == "__main__":
    main()
