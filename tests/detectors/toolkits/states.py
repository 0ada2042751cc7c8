"""Weights of no value under detectron2's and MMDetection's names."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def bottlenecks(*, stages: int, groups: int = 1, width: int = 2, depth: int = 50) -> State:
    """Return a thin ResNet's weights by torchvision's names, which MMDetection takes over; values are zero.

    Its stages have 8, 16, 32 and 64 channels.
    """
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (4, 3, 7, 7), "bn1": (4,)}
    before = 4
    for stage in range(stages):
        inside, after = groups * width * 2**stage, 8 * 2**stage
        for block in range(BLOCKS[depth][stage]):
            begin = f"layer{stage + 1}.{block}."
            shapes |= {
                f"{begin}conv1.weight": (inside, before, 1, 1),
                f"{begin}bn1": (inside,),
                f"{begin}conv2.weight": (inside, inside // groups, 3, 3),
                f"{begin}bn2": (inside,),
                f"{begin}conv3.weight": (after, inside, 1, 1),
                f"{begin}bn3": (after,),
            }
            if not block:
                shapes |= {
                    f"{begin}downsample.0.weight": (after, before, 1, 1),
                    f"{begin}downsample.1": (after,),
                }
            before = after
    state: State = {}
    for name, shape in shapes.items():
        of_norm = ("weight", "bias", "running_mean", "running_var") if len(shape) == 1 else ()
        state |= {f"{name}.{part}": torch.zeros(shape) for part in of_norm} or {name: torch.zeros(shape)}
    return state


def outputs(layers: dict[str, tuple[int, ...]]) -> State:
    """Return weights and biases of layers, by their names and the shapes of their weights."""
    state = {f"{name}.weight": torch.zeros(shape) for name, shape in layers.items()}
    return state | {f"{name}.bias": torch.zeros(shape[0]) for name, shape in layers.items()}


def numbered(state: State, name: str) -> State:
    """Return a state in whose tensor the first dimension counts its rows."""
    value = state[name]
    rows = torch.arange(len(value)).view(-1, *[1] * (value.dim() - 1))
    return {**state, name: rows.expand_as(value).float().clone()}
