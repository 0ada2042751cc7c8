"""Decimal numbers in text to the nearest float64, compiled.

Most numbers fit a 64-bit integer times a power of ten. Their product with a 128-bit approximation of
the power decides all bits of the float64, except for subnormal numbers and the like, which are reported
(D. Lemire, "Number Parsing at a Gigabyte per Second", Software: Practice and Experience, 2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

LOWEST, HIGHEST = -342, 308


def powers_of_five() -> NDArray[np.uint64]:
    """Return (651, 2) the 128 leading bits of 5**q in two words, q from LOWEST to HIGHEST."""
    table = []
    for q in range(LOWEST, HIGHEST + 1):
        if q >= 0:
            power = 5**q
            shift = power.bit_length() - 128
            leading = power >> shift if shift >= 0 else power << -shift
        else:
            power = 5**-q
            leading = (1 << (power.bit_length() + 127)) // power + 1  # rounded up, as the error bound wants
        table.append((leading >> 64, leading & (1 << 64) - 1))
    return np.array(table, np.uint64)


POWERS = powers_of_five()
EXACT_TENS = 10.0 ** np.arange(23)  # the powers of ten that float64 holds exactly


@compiled
def product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the upper and lower half of the 128-bit product."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & low, b >> half, b & low
    mixed = a_high * b_low + (a_low * b_low >> half)
    other = a_low * b_high + (mixed & low)
    return a_high * b_high + (mixed >> half) + (other >> half), a * b


@compiled
def nearest_float(digits: np.uint64, exponent: int | np.int64) -> float:
    """Return the float64 nearest to digits x 10**exponent, NaN where this way cannot tell."""
    if digits == np.uint64(0):
        return 0.0
    if digits <= np.uint64(1 << 53) and -22 <= exponent <= 22:
        whole = np.float64(digits)
        exact: float = whole * EXACT_TENS[exponent] if exponent >= 0 else whole / EXACT_TENS[-exponent]
        return exact
    if exponent < LOWEST or exponent > HIGHEST:
        return np.nan
    return rounded_product(digits, exponent)


@compiled
def rounded_product(digits: np.uint64, exponent: int | np.int64) -> float:
    """Return digits x 10**exponent by the leading 128 bits of the power, NaN where they do not decide."""
    leading_zeros = 0
    while not digits >> np.uint64(63):
        digits <<= np.uint64(1)
        leading_zeros += 1
    high, low = product(digits, POWERS[exponent - LOWEST, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        more = product(digits, POWERS[exponent - LOWEST, 1])[0]
        low += more
        high += np.uint64(low < more)
    if low == ~np.uint64(0):
        return np.nan  # too close to call
    upper = high >> np.uint64(63)
    mantissa = high >> (upper + np.uint64(9))
    halfway = low <= np.uint64(1) and -4 <= exponent <= 23 and mantissa << (upper + np.uint64(9)) == high
    if halfway and mantissa & np.uint64(3) == np.uint64(1):
        mantissa -= np.uint64(1)  # to the even one of two equally near
    power = (217706 * exponent >> 16) + 63 + np.int64(upper) - leading_zeros + 1023
    mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
    if mantissa >> np.uint64(53):
        mantissa = np.uint64(1 << 52)
        power += 1
    if power <= 0 or power >= 2047:
        return np.nan
    bits = np.empty(1, np.uint64)
    bits[0] = mantissa & np.uint64((1 << 52) - 1) | np.uint64(power) << np.uint64(52)
    value: float = bits.view(np.float64)[0]
    return value
