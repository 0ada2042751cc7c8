"""Trainability of a detector on its dataset here: the part of the doctor with torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.capabilities import MatchesObjects
from detkit.checks.findings import Finding
from detkit.checks.learning import (
    MOST_IMAGES,
    MOST_SEARCHED,
    PROBED,
    Fit,
    FitImages,
    fit_findings,
    measure_fit,
    memory_findings,
)
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.data.datasets.source import Source
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.transforms.builder import train_transforms
from detkit.data.transforms.resize import resized
from detkit.detectors.builder import build_detector
from detkit.proposals.builder import build_proposer
from detkit.proposals.config import ProposalFileConfig
from detkit.runs.session import session
from detkit.training.loop.builder import build_optimizer
from detkit.training.loop.config import GradientConfig
from detkit.training.memory_probe import MemoryProbe


def check_learning(config: Config) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return what keeps a detector from being trained on its dataset, and the figures behind it.

    Args:
        config: the detector, its data and its training.

    Raises:
        UserError: the data cannot be read.
    """
    source, _ = open_training_set(config.data)
    fit = fit_of(config, source)
    findings = [] if fit is None else list(fit_findings(fit, source.annotations))
    figures = None if fit is None else fit.to_json()
    if isinstance(config.train, GradientConfig) and config.detector.external_proposals is None:
        memory, needs = _memory(config, config.train, source)
        findings += memory
        figures = None if figures is None else figures | needs
    return findings, figures


def fit_of(config: Config, source: Source) -> Fit | None:
    """Return how the anchors or proposals of a config fit its objects; None for a detector without either.

    A part of the user's own need not say what it samples; then it is None, too.

    Args:
        config: the detector and its data.
        source: the training images.
    """
    model: object = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False)
    if not isinstance(model, MatchesObjects) or model.candidates is None:
        return None
    return measure_fit(model, source.annotations, _fit_images(config, source))


def _fit_images(config: Config, source: Source) -> FitImages:
    resize, proposals = config.data.resize, config.detector.external_proposals

    def size(height: int, width: int) -> tuple[int, int]:
        return resized(height, width, resize.short_px, resize.long_px) if resize else (height, width)

    if proposals is None:
        return FitImages(size)
    if isinstance(proposals, ProposalFileConfig):
        return FitImages(size, attach_proposals(proposals, source, "train").proposals, MOST_IMAGES)
    proposer, pixels = build_proposer(proposals), source.pixels

    def search(image: int) -> NDArray[np.float32]:
        return proposer(pixels(image)).boxes.astype(np.float32)

    return FitImages(size, search, MOST_SEARCHED)


def _memory(config: Config, train: GradientConfig, source: Source) -> tuple[list[Finding], dict[str, Any]]:
    with session(config, trains=True) as run:
        model = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False)
        model.to(run.device).train()
        probe = MemoryProbe.of(
            run,
            model,
            build_optimizer(train.optimizer, model)[0],
            source,
            train_transforms(config.data),
            min(PROBED, source.annotations.num_images),
            config.seed,
        )
        return memory_findings(probe, train.batch_size, train.accumulate)
