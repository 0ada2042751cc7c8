"""Writing of model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detkit.capabilities import Folds
from detkit.inference.model_file import KEY
from detkit.inference.score_floor import Advice
from detkit.names import encodable
from detkit.storage.atomic import durable_file
from detkit.version import VERSION


def save_model(
    file: Path,
    model: nn.Module,
    *,
    classes: Sequence[str],
    category_ids: Sequence[int],
    config_yaml: str,
    licence: str = "MIT",
    thresholds: Advice | None = None,
    measured: tuple[str, float] | None = None,
) -> None:
    """Write a model file beside its place and rename it there.

    Args:
        file: where it goes; folders are made as needed.
        model: whose parameters and buffers are written; where a module's `folded()` says so, in the form
            that needs no knowledge of the training.
        classes: K class names.
        category_ids: K ids of the classes in the dataset.
        config_yaml: the whole config, enough to build the model again.
        licence: SPDX name of the weights' licence.
        thresholds: each class's own score thresholds, where the model was evaluated.
        measured: the metric's name and value, where it was.

    Raises:
        UserError: the disk is full; the file that was there is unharmed.
    """
    metadata = {
        KEY: VERSION,
        "classes": json.dumps(list(classes)),
        "category_ids": json.dumps([int(number) for number in category_ids]),
        "config": encodable(config_yaml),
        "license": licence,
    }
    if thresholds is not None:
        metadata["thresholds"] = json.dumps(dict(thresholds))
    if measured is not None:
        metadata["measured"] = json.dumps(dict(zip(("metric", "value"), measured, strict=True)))
    # A tensor of its own for each name, in plain layout: what the format asks for.
    state = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in (model.state_dict() | _folded(model)).items()
    }
    with durable_file(file) as part:
        save_file(state, part, metadata)
        _sort_metadata(part)


def _sort_metadata(file: Path) -> None:
    """Put the texts of a safetensors file in order: safetensors writes them in another one each time."""
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length)
        assert len(text) == length, "safetensors escapes other letters than Python"
        stream.seek(8)
        stream.write(text)


def _folded(model: nn.Module) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, module in model.named_modules()
        if isinstance(module, Folds)
        for name, value in module.folded().items()
    }
