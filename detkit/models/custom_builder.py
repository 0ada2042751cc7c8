"""A module of the user's own in a place of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from detkit.custom import build_custom
from detkit.errors import UserError
from detkit.spec import CustomConfig


def custom_module(part: str, spec: CustomConfig, wanted: Sequence[str], **given: Any) -> nn.Module:
    """Return a user's own module.

    Args:
        part: the key that names it in a config, for messages.
        spec: its part of the config.
        wanted: the attributes and methods that its place needs.
        given: what it is called with beside `args`.

    Raises:
        UserError: If it cannot be made or lacks an attribute that its place needs.
    """
    module = build_custom(spec, **given)
    lacks = [name for name in wanted if not hasattr(module, name)]
    if not isinstance(module, nn.Module) or lacks:
        raise UserError(
            f"{part}: {spec.target} must give a torch.nn.Module with {', '.join(wanted)}; "
            f"it gave a {type(module).__name__}" + (f" without {', '.join(lacks)}" if lacks else "")
        )
    return module
