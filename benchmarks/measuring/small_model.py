"""A small detector with random weights as a model file, and images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIG = "faster_rcnn_resnet18_synthetic"


def write_model(file: Path) -> None:
    """Write a detector that finds boxes wherever its random weights see some."""
    import torch

    from detkit.config.dump import dump_config
    from detkit.config.load import load_config
    from detkit.detectors.builder import build_detector
    from detkit.inference.save_model import save_model

    config = load_config(CONFIG)
    classes = config.data.classes or ("triangle", "disc", "square")
    torch.manual_seed(0)
    model = build_detector(config.detector, len(classes), pretrained=False)
    ids = range(1, len(classes) + 1)
    save_model(file, model, classes=classes, category_ids=ids, config_yaml=dump_config(config))


def scenes(count: int) -> list[NDArray[np.uint8]]:
    """Return (H, W, 3) uint8 RGB images of the embedded dataset."""
    from detkit.data.synthetic.dataset import SyntheticSet

    images = SyntheticSet(count, 0)
    return [images.render(number) for number in range(count)]


def resident_mib(process: str = "self") -> float:
    """Return the memory of a process in MiB."""
    status: dict[str, Any] = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    return float(status["VmRSS"].split()[0]) / 1024
