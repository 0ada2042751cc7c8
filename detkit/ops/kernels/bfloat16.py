"""bfloat16 inside compiled loops, which know no such type: its bits travel as uint16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray


def widen(value: Any) -> Any:
    """Return an element of `bits` as a number.

    Example:
        >>> float(widen(np.uint16(16256))), float(widen(np.float32(2.5)))
        (1.0, 2.5)
    """
    return _from_bits(value) if isinstance(value, np.uint16) else value


def narrow(value: Any, array: NDArray[Any]) -> Any:
    """Return a number as an element of `array`; bfloat16 is rounded to nearest, ties to even.

    Example:
        >>> int(narrow(np.float32(1.0), np.empty(0, np.uint16)))
        16256
    """
    return _to_bits(value, array) if array.dtype == np.uint16 else value


def _from_bits(value: Any) -> Any:
    return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)  # the upper half of a float32


def _to_bits(value: Any, array: Any) -> Any:
    # A NaN stays one, because those of bfloat16 inputs and of arithmetic have no bits in the lower half.
    whole = np.float32(value).view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((whole >> np.uint32(16)) & np.uint32(1))
    return np.uint16((whole + rounding) >> np.uint32(16))


def _as_it_is(value: Any) -> Any:
    return value


def _as_its_array(value: Any, array: Any) -> Any:
    return value


# Numba takes the one that fits the type, and wants the same names and annotations on all sides.
def _how_to_widen(value: Any) -> Callable[..., Any]:
    return _from_bits if isinstance(value, types.Integer) else _as_it_is


def _how_to_narrow(value: Any, array: Any) -> Callable[..., Any]:
    return _to_bits if isinstance(array.dtype, types.Integer) else _as_its_array


overload(widen)(_how_to_widen)
overload(narrow)(_how_to_narrow)
