"""Which ResNet some weights are of, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from detkit.models.backbones.resnet.family import FIRST_BOTTLENECK
from detkit.models.backbones.resnet.network import BLOCKS


def keys_of_weights(state: Mapping[str, Tensor], prefix: str = "backbone.") -> dict[str, int] | None:
    """Return the `depth` of a ResNet, ResNeXt or Wide ResNet, of bottlenecks also the groups and their width.

    Args:
        state: weights, with at least the first three stages, under the names of our ResNet.
        prefix: what its names begin with.

    Returns:
        keys of `ResNetConfig`; None where these are no weights of a ResNet that it has.
    """
    blocks: list[int] = []
    for stage in range(1, 5):
        found = {
            match[1]
            for name in state
            if (match := re.match(rf"{re.escape(prefix)}layer{stage}\.(\d+)\.", name))
        }
        blocks += [len(found)] * bool(found)
    deep = f"{prefix}layer1.0.conv3.weight" in state
    for depth, row in BLOCKS.items():
        if len(blocks) > 2 and list(row[: len(blocks)]) == blocks and deep == (depth >= FIRST_BOTTLENECK):
            if not deep:
                return {"depth": depth}
            channels, of_a_group = state[f"{prefix}layer1.0.conv2.weight"].shape[:2]
            groups = channels // of_a_group
            return {"depth": depth, "groups": groups, "width_per_group": of_a_group}
    return None
