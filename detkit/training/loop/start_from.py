"""Weights taken over from a trained detector, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detkit.capabilities import HasClassOutputs
from detkit.errors import UserError
from detkit.inference.model_file import ModelFile
from detkit.names import counted


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
    widths = _outputs_per_class(model)
    copied, partly, fresh = [], [], []
    for name, value in model.state_dict().items():
        old = file.state.get(name)
        layer = name.rpartition(".")[0]
        if layer in widths and old is not None and old.shape[1:] == value.shape[1:]:
            _copy_classes(value, old, widths[layer], classes, file.classes)
            partly.append(name)
        elif old is not None and old.shape == value.shape:
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
    lines = [f"{counted(len(copied), 'tensor')} copied from {file.path}"]
    if partly:
        lines.append(
            f"{counted(len(partly), 'tensor')} by class: {', '.join(kept) or 'no class is the same'}; "
            "others new"
        )
    if fresh:
        start = "starts" if len(fresh) == 1 else "start"
        names = f"{', '.join(fresh[:6])}{', ...' if fresh[6:] else ''}"
        lines.append(f"{counted(len(fresh), 'tensor')} {start} anew: {names}")
    return "\n".join(lines)


def _outputs_per_class(model: nn.Module) -> dict[str, int]:
    """Return the layers that have a part for each class, and the outputs of a part."""
    return {
        f"{prefix}.{layer}".removeprefix("."): width  # the model itself has no prefix
        for prefix, module in model.named_modules()
        if isinstance(module, HasClassOutputs)
        for layer, width in module.outputs_per_class.items()
    }


def _copy_classes(
    value: Tensor, old: Tensor, width: int, classes: Sequence[str], old_classes: Sequence[str]
) -> None:
    """Copy the parts of the classes that both know, and background's where there is one."""
    parts, old_parts = value.view(-1, width, *value.shape[1:]), old.view(-1, width, *old.shape[1:])
    for number, name in enumerate(classes):
        if name in old_classes:
            parts[number] = old_parts[list(old_classes).index(name)]
    if len(parts) > len(classes) and len(old_parts) > len(old_classes):
        parts[-1] = old_parts[-1]
