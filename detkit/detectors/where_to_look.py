"""The proposals of a dataset's images, for a detector that has to be told where to look."""

from __future__ import annotations

from typing import Literal

from detkit.data.datasets.source import Source
from detkit.data.regions.attached_proposals import with_proposals
from detkit.detectors.union import AnyDetectorConfig
from detkit.models.rpn.config import RPNConfig
from detkit.proposals.config import ExternalProposalsConfig


def external_proposals(detector: AnyDetectorConfig) -> ExternalProposalsConfig | None:
    """Return where a detector is told to look; None for one that looks for itself."""
    proposals: ExternalProposalsConfig | RPNConfig | None = getattr(detector, "proposals", None)
    return None if isinstance(proposals, RPNConfig) else proposals


def told_where_to_look(detector: AnyDetectorConfig, source: Source, part: Literal["train", "val"]) -> Source:
    """Return a dataset with proposals where the detector needs them, otherwise as it is.

    In a training of several processes all have to call it.

    Args:
        detector: the config's `detector`.
        source: the images.
        part: which of the config's datasets they are.

    Raises:
        UserError: proposals come from a file that does not fit the images, or an image cannot be read.
    """
    proposals = external_proposals(detector)
    return source if proposals is None else with_proposals(proposals, source, part)
