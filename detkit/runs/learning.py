"""Trainability of a detector on its dataset here: the part of the doctor with torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.capabilities import MatchesObjects
from detkit.checks.findings import Finding
from detkit.checks.learning import PROBED, Fit, fit_findings, measure_fit, memory_findings
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

MOST_IMAGES = 300  # looked at for anchors
MOST_SEARCHED = 16  # for proposals that have to be found first, which takes a second or more for each


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
    resize = config.data.resize

    def size(height: int, width: int) -> tuple[int, int]:
        return resized(height, width, resize.short_px, resize.long_px) if resize else (height, width)

    return measure_fit(model, source.annotations, size, *_proposals(config, source))


def _proposals(config: Config, source: Source) -> tuple[Callable[[int], NDArray[np.float32]] | None, int]:
    """Return the boxes of an image, None for a detector with anchors, and how many images to look at."""
    proposals = config.detector.external_proposals
    if proposals is None:
        return None, MOST_IMAGES
    if isinstance(proposals, ProposalFileConfig):
        return attach_proposals(proposals, source, "train").proposals, MOST_IMAGES
    proposer, pixels = build_proposer(proposals), source.pixels

    def search(image: int) -> NDArray[np.float32]:
        return proposer(pixels(image)).boxes.astype(np.float32)

    return search, MOST_SEARCHED


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
