"""Trains a small detector through the whole workflow, in processes of its own."""

from __future__ import annotations

import hashlib
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from detkit.config.load import load_config
from detkit.workflows.train import train
from tests.reliability.meeting import meeting
from tests.reliability.tiny_training import CONTEXT

SQUARES = "tests.reliability.square_images:square_images"
SMALL = (
    "detector.backbone.width=0.125",
    "detector.backbone.norm=frozen",
    "detector.proposals.channels=16",
    "detector.proposals.pre_nms_train=50",
    "detector.proposals.post_nms_train=20",
    f"data.train={{type: custom, target: '{SQUARES}', args: {{num_images: 8}}}}",
    f"data.val={{type: custom, target: '{SQUARES}', args: {{num_images: 3}}}}",
    "data.resize.short_px=64",
    "data.resize.long_px=96",
    "data.workers=0",
    "train.epochs=2",
    "train.batch_size=4",
    "train.precision=fp32",
    "device=cpu",
)


def learn(out: Path, *overrides: str, processes: int = 1, resume: bool = False) -> dict[str, torch.Tensor]:
    """Train to the end and return the weights that are kept."""
    for process in [start(out, overrides, place, resume) for place in meeting(processes)]:
        process.join()
        assert process.exitcode == 0
    return load_file(out / "model.safetensors")


def start(out: Path, overrides: tuple[str, ...], place: dict[str, str], resume: bool) -> BaseProcess:
    process = CONTEXT.Process(target=_learn, args=(out, overrides, place, resume))
    process.start()
    return process


def digest(file: Path) -> str:
    """Return a hash of a model's weights, whatever else is in its file."""
    weights = load_file(file)
    sums: Any = hashlib.sha256()
    for name in sorted(weights):
        sums.update(name.encode() + weights[name].numpy().tobytes())
    return str(sums.hexdigest())


def _learn(out: Path, overrides: tuple[str, ...], environment: dict[str, str], resume: bool) -> None:
    torch.set_num_threads(1)
    os.environ.update(environment)
    train(load_config("faster_rcnn_resnet18_synthetic", [*SMALL, *overrides]), out=out, resume=resume)
