"""The width multiplier of a backbone."""

from __future__ import annotations

import math


def scaled(channels: int, width: float, groups: int = 1) -> int:
    """Return `channels` times `width`, rounded to a multiple of 8 and of `groups` where that changes it.

    Example:
        >>> scaled(64, 1), scaled(64, 0.3), scaled(64, 0.01), scaled(64, 0.3, groups=32)
        (64, 16, 8, 32)
    """
    multiple = math.lcm(8, groups)
    return channels if width == 1 else max(multiple, round(channels * width / multiple) * multiple)


def divisible(channels: float) -> int:
    """Return the multiple of 8 nearest to `channels`, and not below nine tenths of it.

    Reference: Sandler et al., MobileNetV2, CVPR 2018, whose networks and those after it round so.

    Example:
        >>> divisible(38.4), divisible(11.2), divisible(3)
        (40, 16, 8)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
