"""Arrays from a pickle that is not trusted: nothing but arrays is made of it."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

from detkit.errors import UserError
from detkit.storage.regular_files import read_bytes

_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("_codecs", "encode"): str.encode,  # what bytes are written by in the oldest files
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        if (module, name) == ("numpy._core.numeric", "_frombuffer"):
            # A function of its own for each file: a pickle can give a function attributes.
            return lambda data, kind, shape, order: np.frombuffer(data, kind).reshape(shape, order=order)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_pickled_arrays(path: Path) -> Any:
    """Return what a pickle of arrays, numbers, texts, lists and mappings holds; nothing in it is run.

    Raises:
        UserError: there is no such file, it is damaged, or it asks for anything else.
    """
    content = BytesIO(read_bytes(path))
    try:
        return _ArraysOnly(content, encoding="latin1").load()
    except Exception as error:  # whatever a damaged file makes the reader stumble over
        raise UserError(
            f"{path} is damaged or holds more than arrays ({error}); nothing in it was run"
        ) from error
