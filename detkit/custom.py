"""A user's own part, named in a config by where it lives."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from detkit.errors import UserError
from detkit.runtime.progress import say
from detkit.spec import CustomConfig, OwnPart


def build_custom(spec: CustomConfig, **given: Any) -> Any:
    """Import and call a user's own part.

    Modules are looked for as Python does (installed packages, PYTHONPATH), and then beside the config file
    that the user named. Code named by a file that is not the user's own runs only where they allow it, and
    what runs is said.

    Args:
        spec: the target and the arguments written in the config.
        given: what detkit itself passes to parts of this family.

    Raises:
        UserError: the module or the name does not exist, the call does not take the arguments, or the file
            that names the part may not run code.
    """
    if isinstance(spec, OwnPart):
        return spec.part
    origin = spec.origin
    if origin is not None and not origin.runs_code:
        raise UserError(
            f"{origin.file}: names code, target {spec.target!r}, and such a file may come from anywhere; if "
            "you know this code, let it run with --allow-custom (in Python: allow_custom=True)"
        )
    if origin is not None and not origin.is_own:
        say(f"{origin.file}: runs {spec.target}")
    module_name, name = spec.target.split(":")
    module = _module(module_name, spec)
    part = getattr(module, name, None)
    if not callable(part):
        names = ", ".join(n for n in dir(module) if not n.startswith("_") and callable(getattr(module, n)))
        raise UserError(f"target {spec.target!r}: {module_name} has no callable {name!r}; it has: {names}")
    try:
        return part(**given, **spec.args)
    except TypeError as error:
        shown = ", ".join([*given, *spec.args])
        raise UserError(f"target {spec.target!r}: called with {shown}: {error}") from error


def _module(name: str, spec: CustomConfig) -> ModuleType:
    """Import a module, from beside the user's own config where Python does not find it by itself."""
    own = spec.origin is not None and spec.origin.is_own
    folder = str(spec.origin.file.resolve().parent) if spec.origin is not None and own else None
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)  # for good: loader processes import the module once more
    try:
        return importlib.import_module(name)
    except ImportError as error:
        beside = "" if folder is None else f", then in {folder}"
        raise UserError(
            f"target {spec.target!r}: cannot import {name}: {error}; modules are looked for among installed "
            f"packages and in PYTHONPATH{beside}"
        ) from error
