"""torch.export: a graph as a program that PyTorch loads without detkit."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from detkit.errors import UserError
from detkit.inference.export.graph import Call, Graph
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
    from torchvision import ops  # noqa: F401  (registers its operators)

    module = torch.export.load(io.BytesIO(file.read_bytes())).module()

    def call(arrays):  # type: ignore[no-untyped-def]
        try:
            with torch.no_grad():
                return [one.numpy() for one in module(*(torch.from_numpy(each) for each in arrays.values()))]
        except AssertionError as error:
            size = " x ".join(map(str, arrays["images"].shape[2:]))
            raise UserError(
                f"torch-export: the program takes no images of {size} pixels ({error}); onnx does"
            ) from None

    return call


def _keeps_by_torchvision(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Suppress all groups in one call, each moved to a place of its own; float64 holds the coordinates."""
    exact = boxes.double()
    span = exact.amax() - exact.amin() + 1
    group = torch.arange(boxes.shape[0], device=boxes.device)
    moved = exact + (group * span)[:, None, None]
    kept = torch.ops.torchvision.nms(moved.flatten(0, 1), scores.double().flatten(), iou)
    flat = torch.zeros_like(scores, dtype=torch.bool).flatten().index_fill(0, kept, True)
    return flat.view(scores.shape) & (scores > NOTHING)
