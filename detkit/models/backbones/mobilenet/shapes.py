"""Which MobileNet some weights are of, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from detkit.models.backbones.mobilenet.family import Variant

BLOCKS: dict[Variant, int] = {"v2": 19, "v3_small": 13, "v3_large": 17}
"""Of each network, the blocks from the first convolution to the last."""

NORM_EPS: dict[Variant, float] = {"v2": 1e-5, "v3_small": 1e-3, "v3_large": 1e-3}
"""What the norms of each add to the variance."""


def variant_of_weights(names: Iterable[str], prefix: str) -> Variant | None:
    """Return which MobileNet weights are of; None where they are of none.

    Args:
        names: of all its weights, those of the last convolution included.
        prefix: what they begin with, before the number of the block.

    Example:
        >>> variant_of_weights([f"features.{block}.0.weight" for block in range(17)], "features.")
        'v3_large'
    """
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
    blocks = {int(match[1]) for name in names if (match := pattern.match(name))}
    return next((variant for variant, count in BLOCKS.items() if blocks == set(range(count))), None)
