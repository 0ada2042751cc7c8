"""Reads pickles as data: whatever a pickle asks to be called is not called."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

_NUMERIC = "biuf"  # kinds of dtype whose bytes are numbers


def read_pickle(file: Path) -> Any:
    """Return the dicts, lists, texts, numbers and NumPy arrays in a pickle.

    Arrays come as `PickledArray` and objects of other classes that only hold values as `PickledRecord`;
    nothing is imported and no code of the file's choice runs.

    Raises:
        UserError: the file cannot be read, is not a pickle, or holds something else.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "boxes.pkl"
        ...     _ = file.write_bytes(pickle.dumps({"run": os.getcwd}))
        ...     read_pickle(file)
        Traceback (most recent call last):
        ...
        detkit.errors.UserError: ...the pickle asks for posix.getcwd; dicts, lists and NumPy arrays ...
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    try:
        return _Reader(io.BytesIO(content)).load()
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except Exception as error:  # damaged pickles raise whatever their last bytes lead to
        raise UserError(f"{file}: not a pickle that can be read ({type(error).__name__}: {error})") from None


class PickledArray:
    """A NumPy array as a pickle describes it.

    Attributes:
        values: the array; objects of an object array are in a list.
    """

    def __init__(self, values: NDArray[Any] | list[Any] | None = None) -> None:
        self.values: NDArray[Any] | list[Any] | None = values

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if isinstance(content, list):
            self.values = content
        else:
            self.values = _from_bytes(content, dtype, shape, "F" if is_fortran else "C")


class PickledRecord:
    """An object of a class that only holds values; they are its attributes."""


class _PickledType:
    """A NumPy dtype: NumPy's own would believe whatever the pickle says about it."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype[Any]:
        found = np.dtype(self.name)
        if found.kind not in _NUMERIC:
            raise UserError(f"holds an array of {found}, where numbers were expected")
        return found.newbyteorder(">") if self.order == ">" else found


class _Reader(pickle.Unpickler):
    def __init__(self, content: io.BytesIO) -> None:
        super().__init__(content, encoding="latin1")  # Python 2 wrote bytes where text is meant
        self._known = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        known = self._known.get((module.replace("numpy.core", "numpy._core"), name))
        if known is None:
            advice = "; save its tensors as NumPy arrays" if module.startswith("torch") else ""
            raise UserError(
                f"the pickle asks for {module}.{name}; dicts, lists and NumPy arrays are read, and no code "
                f"of a pickle is run{advice}"
            )
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise UserError("the pickle refers to data outside of it")


def _stand_ins() -> dict[tuple[str, str], Any]:
    """Return what each name stands for; made anew for each pickle, which can change what it gets."""
    array = "numpy._core.multiarray"
    return {
        (array, "_reconstruct"): lambda *_: PickledArray(),
        (array, "scalar"): lambda dtype, content: _from_bytes(content, dtype, (1,), "C")[0].item(),
        ("numpy._core.numeric", "_frombuffer"): lambda *parts: PickledArray(_from_bytes(*parts)),
        ("numpy", "dtype"): type("dtype", (_PickledType,), {}),
        ("numpy", "ndarray"): type("ndarray", (), {}),
        ("collections", "OrderedDict"): OrderedDict,
        ("builtins", "set"): set,
        ("__builtin__", "set"): set,
        ("_codecs", "encode"): lambda text, *_: str(text).encode("latin-1"),
        ("detectron2.structures.boxes", "BoxMode"): int,
        ("mmengine.structures.instance_data", "InstanceData"): type("InstanceData", (PickledRecord,), {}),
    }


def _from_bytes(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _PickledType):
        raise UserError("holds an array of an unknown kind")
    data = content.encode("latin-1") if isinstance(content, str) else content
    values = np.frombuffer(data, dtype.dtype())
    return values.reshape(shape, order="F" if order == "F" else "C")
