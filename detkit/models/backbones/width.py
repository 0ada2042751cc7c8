"""The width multiplier of a backbone."""

from __future__ import annotations


def scaled(channels: int, width: float) -> int:
    """Return `channels` times `width`, rounded to a multiple of 8 where that changes it.

    Example:
        >>> scaled(64, 1), scaled(64, 0.3), scaled(64, 0.01)
        (64, 16, 8)
    """
    return channels if width == 1 else max(8, round(channels * width / 8) * 8)
