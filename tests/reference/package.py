"""The package as its tests walk through it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import detkit

ROOT = Path(detkit.__file__).parent


def modules() -> Iterator[ModuleType]:
    """Yield all modules of the package but its entry point, by name."""
    for file in sorted(ROOT.rglob("*.py")):
        if file.name != "__main__.py":
            name = ".".join(("detkit", *file.relative_to(ROOT).with_suffix("").parts))
            yield importlib.import_module(name.removesuffix(".__init__"))
