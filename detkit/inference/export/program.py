"""torch.export: a graph as a program that PyTorch loads without detkit."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.nn import functional as F

from detkit.inference.export.graph import IMAGES, Call, Graph
from detkit.ops.padded import NOTHING


def write_program(graph: Graph, file: Path, metadata: Mapping[str, str]) -> None:
    """Write a graph as a file of `torch.export`, which runs by the operators of PyTorch and torchvision.

    Args:
        graph: the detector.
        file: to write.
        metadata: texts that the file keeps, as extra files.
    """
    from torchvision import ops  # noqa: F401  (registers its operators)

    content = io.BytesIO()
    with warnings.catch_warnings():  # torch's and torchvision's, of each other
        warnings.simplefilter("ignore")
        program = graph.exported().run_decompositions({torch.ops.detkit.keeps.default: _keeps_by_torchvision})
        torch.export.save(program, content, extra_files=dict(metadata))
    file.write_bytes(content.getbuffer())


def run_program(file: Path) -> Call:
    """Return a file of `torch.export` as a function."""
    program = torch.export.load(io.BytesIO(file.read_bytes()))
    module, (least_height, least_width) = program.module(), _least_sides(program)

    def call(arrays):  # type: ignore[no-untyped-def]
        images, *rest = map(torch.from_numpy, arrays.values())
        missing = (max(0, least_width - images.shape[3]), max(0, least_height - images.shape[2]))
        with torch.no_grad():
            return [one.numpy() for one in module(F.pad(images, (0, missing[0], 0, missing[1])), *rest)]

    return call


def _least_sides(program: ExportedProgram) -> list[int]:
    """Return height and width that images have at least; smaller ones can be padded."""
    images = next(iter(program.graph.find_nodes(op="placeholder", target=IMAGES[0])))
    sides = images.meta["val"].shape[2:]
    return [int(program.range_constraints[side.node.expr].lower) for side in sides]


def _keeps_by_torchvision(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Suppress all groups in one call, each moved to a place of its own; float64 holds the coordinates."""
    exact = boxes.double()
    span = exact.amax() - exact.amin() + 1
    group = torch.arange(boxes.shape[0], device=boxes.device)
    moved = exact + (group * span)[:, None, None]
    kept = torch.ops.torchvision.nms(moved.flatten(0, 1), scores.double().flatten(), iou)
    flat = torch.zeros_like(scores, dtype=torch.bool).flatten().index_fill(0, kept, True)
    return flat.view(scores.shape) & (scores > NOTHING)
