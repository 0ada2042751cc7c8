"""Config -> proposal method."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_never

from detkit.custom import build_custom
from detkit.errors import UserError
from detkit.proposals import config as specs
from detkit.proposals.edge_boxes.edge_files import EdgeFiles
from detkit.proposals.edge_boxes.edge_map import GradientEdges
from detkit.proposals.proposals import Proposer
from detkit.proposals.selective_search.search import SelectiveSearch
from detkit.proposals.sliding_window import PyramidWindows, RelativeWindows, SlidingWindow, WindowLayout
from detkit.spec import CustomConfig

METHOD_VERSIONS = {"selective_search": 2, "edge_boxes": 2, "sliding_window": 1, "custom": 1}
"""To be raised when a method comes to give other boxes, so that what was kept of it is made anew."""


def build_proposer(spec: specs.ExternalProposalsConfig, *, num_threads: int = 1) -> Proposer:
    """Return what takes the (H, W, 3) uint8 RGB pixels of an image and returns its proposals.

    Args:
        spec: which method, and its parameters.
        num_threads: threads that work on one image, where the method can use several. The boxes do not depend
            on it. One is best where several images are worked on at the same time.

    Raises:
        UserError: a user's own part is not a callable, or the boxes are to come from a file.
    """
    match spec:
        case specs.SelectiveSearchConfig():
            return SelectiveSearch(spec.mode, spec.seed, spec.max_boxes, num_threads)
        case specs.EdgeBoxesConfig():
            from detkit.proposals.edge_boxes.edge_boxes import EdgeBoxes

            return EdgeBoxes(**{**parameters_of(spec), "edges": _edges(spec.edges)})
        case specs.SlidingWindowConfig():
            return SlidingWindow(_layout(spec.windows), spec.max_boxes)
        case CustomConfig():
            return _callable(spec)
        case specs.ProposalFileConfig():
            raise UserError(
                "detector.proposals: a file holds boxes for the images of a dataset and for no others; to "
                "look at other images name a method, such as proposals: {type: selective_search}"
            )
        case _:
            assert_never(spec)


def parameters_of(spec: specs.ExternalProposalsConfig) -> dict[str, Any]:
    """Return the parameters of a method by name."""
    return spec.model_dump(exclude={"type"})


def _edges(spec: specs.GradientEdgesConfig | specs.EdgeFilesConfig) -> GradientEdges | EdgeFiles:
    match spec:
        case specs.GradientEdgesConfig():
            return GradientEdges(spec.scales_px, spec.surround_px, spec.surround, spec.full_share)
        case specs.EdgeFilesConfig():
            return EdgeFiles(Path(spec.folder))
        case _:
            assert_never(spec)


def _layout(spec: specs.RelativeWindowsConfig | specs.PyramidWindowsConfig) -> WindowLayout:
    match spec:
        case specs.RelativeWindowsConfig():
            return RelativeWindows(spec.scales, spec.ratios, spec.stride)
        case specs.PyramidWindowsConfig():
            return PyramidWindows(spec.sizes_px, spec.stride_px, spec.scale_step)
        case _:
            assert_never(spec)


def _callable(spec: CustomConfig) -> Proposer:
    part = build_custom(spec)
    if not callable(part):
        raise UserError(
            f"target {spec.target!r}: must return a callable that takes (H, W, 3) uint8 pixels and returns "
            f"detkit.proposals.proposals.Proposals; it returned {type(part).__name__}"
        )
    proposer: Proposer = part
    return proposer
