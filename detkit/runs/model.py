"""Detector made again from its model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from detkit.config.load import parse_config
from detkit.config.schema import Config
from detkit.detectors.builder import build_detector
from detkit.inference.model_file import ModelFile, read_model_file


@dataclass(frozen=True)
class LoadedDetector:
    """A trained detector, ready to run.

    Attributes:
        model: in evaluation mode, on its device.
        config: what it was trained with.
        file: classes, category ids and whatever else its file holds.
    """

    model: nn.Module
    config: Config
    file: ModelFile

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that the labels of detections point to."""
        return self.file.classes


def load_detector(weights: Path, device: torch.device | str = "cpu") -> LoadedDetector:
    """Read a model.safetensors and build its detector.

    Args:
        weights: the file; its metadata hold the config.
        device: where the model goes.

    Raises:
        UserError: the file is missing, is not a model of detkit, or does not fit its own config.
    """
    file = read_model_file(weights)
    config = parse_config(file.config_yaml, f"{weights} (config)")
    model = build_detector(config.detector, len(file.classes), config.seed, pretrained=False)
    file.load_into(model)
    return LoadedDetector(model.to(device).eval(), config, file)
