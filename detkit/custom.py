"""A user's own part, named in a config by where it lives."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from detkit.errors import UserError
from detkit.spec import CustomConfig, OwnPart


def build_custom(spec: CustomConfig, **given: Any) -> Any:
    """Import and call a user's own part.

    Modules are looked for as Python does, and in the working directory.

    Args:
        spec: the target and the arguments written in the config.
        given: what detkit itself passes to parts of this family.

    Raises:
        UserError: the module or the name does not exist, or the call does not take the arguments.
    """
    if isinstance(spec, OwnPart):
        return spec.part
    module_name, name = spec.target.split(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"target {spec.target!r}: cannot import {module_name}: {error}") from error
    part = getattr(module, name, None)
    if not callable(part):
        names = ", ".join(n for n in dir(module) if not n.startswith("_") and callable(getattr(module, n)))
        raise UserError(f"target {spec.target!r}: {module_name} has no callable {name!r}; it has: {names}")
    try:
        return part(**given, **spec.args)
    except TypeError as error:
        shown = ", ".join([*given, *spec.args])
        raise UserError(f"target {spec.target!r}: called with {shown}: {error}") from error
