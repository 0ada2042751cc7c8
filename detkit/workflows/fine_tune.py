"""Start a training from a trained detector, keeping what fits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.errors import UserError
from detkit.inference.model_file import ModelFile


def start_from(model: nn.Module, classes: Sequence[str], file: ModelFile) -> str:
    """Copy a trained detector's weights into a model, class by class where they have different classes.

    A tensor of the same name and shape is copied. One that holds a part for each class (the last layers
    of the head) gets the parts of the classes that both know by name, and background's.

    Args:
        model: the new model.
        classes: its K class names.
        file: the trained detector.

    Returns:
        One line for each thing to know: what was copied, what starts anew.

    Raises:
        UserError: nothing fits.
    """
    own = model.state_dict()
    copied, partly, fresh = [], [], []
    for name, value in own.items():
        old = file.state.get(name)
        if old is None:
            fresh.append(name)
        elif old.shape == value.shape and tuple(classes) == file.classes:
            value.copy_(old)
            copied.append(name)
        elif _by_class(value, old, classes, file.classes):
            partly.append(name)
        elif old.shape == value.shape:
            value.copy_(old)
            copied.append(name)
        else:
            fresh.append(name)
    if not copied:
        raise UserError(
            f"{file.path}: nothing in it fits this detector: its `detector` in the config must be of the "
            "same kind and size"
        )
    kept = [name for name in classes if name in file.classes]
    lines = [f"{len(copied)} tensors copied from {file.path}"]
    if partly:
        lines.append(
            f"{len(partly)} tensors by class: {', '.join(kept) or 'no class is the same'}; others new"
        )
    if fresh:
        lines.append(f"{len(fresh)} tensors start anew: {', '.join(fresh[:6])}{', ...' if fresh[6:] else ''}")
    return "\n".join(lines)


@torch.no_grad()
def _by_class(value: Tensor, old: Tensor, classes: Sequence[str], old_classes: Sequence[str]) -> bool:
    """Copy the parts of the classes both have, if both tensors are divided by class; return whether."""
    for background, width in ((1, 1), (0, 4)):
        new_parts, old_parts = len(classes) + background, len(old_classes) + background
        if (
            value.dim() == 0
            or value.shape[1:] != old.shape[1:]
            or len(value) != new_parts * width
            or len(old) != old_parts * width
        ):
            continue
        new_rows, old_rows = value.unflatten(0, (new_parts, width)), old.unflatten(0, (old_parts, width))
        for number, name in enumerate(classes):
            if name in old_classes:
                new_rows[number] = old_rows[list(old_classes).index(name)]
        if background:
            new_rows[-1] = old_rows[-1]
        return True
    return False
