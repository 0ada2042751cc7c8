"""Convolutions on the CPU in float32: the ways that detkit chooses beside the other ways that it has.

Layers of VGG16, ResNet-50, a pyramid and the small detector of the demo, each with the convolution itself,
the gradient of its maps and that of its weights; every way that a layer allows is timed, interleaved. What
`detkit.ops.convolution` chooses stands beside PyTorch's convolution (library) and the fastest other way: a
ratio below 1 is a wrong choice.

What another processor would do can be asked of a newer one, since the libraries obey these variables:

    python benchmarks/convolution.py [--rounds 5] [--json FILE]
    ONEDNN_MAX_CPU_ISA=AVX512_CORE python benchmarks/convolution.py     # on a processor with AMX
    export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
    python benchmarks/convolution.py
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from measuring.turns import Claim, claim_of, deliver, in_turns
from torch import Tensor

from detkit.ops import convolution
from detkit.ops.convolution import _Plan, _plan


class Layer(NamedTuple):
    """A convolution: images, channels in and out, height and width of the maps, kernel, stride."""

    images: int
    channels: int
    channels_out: int
    height: int
    width: int
    kernel: int = 3
    stride: int = 1

    def __str__(self) -> str:
        return (
            f"{self.kernel}x{self.kernel}/{self.stride} {self.channels} to {self.channels_out}, "
            f"{self.images} of {self.height}x{self.width}"
        )


LAYERS = (
    Layer(1, 64, 64, 152, 200),
    Layer(1, 128, 128, 76, 100),
    Layer(1, 256, 256, 38, 50),
    Layer(1, 512, 512, 19, 25),
    Layer(1, 256, 256, 152, 200),
    Layer(2, 256, 256, 76, 100),
    Layer(1, 128, 128, 300, 400),
    Layer(1, 128, 256, 150, 200),
    Layer(1, 192, 192, 76, 100),
    Layer(1, 512, 512, 38, 50),
    Layer(1, 1024, 512, 38, 50),
    Layer(8, 64, 64, 40, 40),
    Layer(8, 128, 128, 20, 20),
    Layer(8, 256, 256, 10, 10),
    Layer(1, 128, 128, 152, 200, stride=2),
    Layer(1, 256, 256, 76, 100, stride=2),
    Layer(1, 96, 256, 76, 100, kernel=5),
)


def cases(layer: Layer) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Return what is computed, and each way to compute it."""
    torch.manual_seed(0)
    as_map = {"memory_format": torch.channels_last}
    x = torch.randn(layer.images, layer.channels, layer.height, layer.width).contiguous(**as_map)
    weight = torch.randn(layer.channels_out, layer.channels, layer.kernel, layer.kernel).contiguous(**as_map)
    stride, padding = (layer.stride,) * 2, (layer.kernel // 2,) * 2
    ways = ["library", *(["tiles"] if layer.kernel == 3 and layer.stride == 1 else [])]
    plan = {way: _Plan(stride, padding, way, way) for way in (*ways, "products")}
    with torch.no_grad():
        grad = torch.randn_like(convolution._forward(x, weight, None, plan["library"]))
    return {
        "maps": {way: lambda way=way: convolution._forward(x, weight, None, plan[way]) for way in ways},
        "gradient of maps": {
            way: lambda way=way: convolution._input_gradient(grad, x, weight, plan[way]) for way in ways
        },
        "gradient of weights": {
            way: lambda way=way: convolution._weight_gradient(grad, x, weight, plan[way]) for way in plan
        },
    }


def chosen(layer: Layer, what: str) -> str:
    """Return the way that detkit chooses."""
    x = torch.empty(layer.images, layer.channels, layer.height, layer.width)
    weight = torch.empty(layer.channels_out, layer.channels, layer.kernel, layer.kernel)
    plan = _plan(x, weight, (layer.stride,) * 2, (layer.kernel // 2,) * 2)
    return plan.weight if what == "gradient of weights" else plan.maps


def measure(layer: Layer, rounds: int) -> list[Claim]:
    """Return a claim for each of the three, where there is a choice."""
    claims = []
    for what, ways in cases(layer).items():
        if len(ways) == 1:
            continue
        with torch.no_grad():
            taken = in_turns(ways, rounds)
        way = chosen(layer, what)
        ours = taken.pop(way)
        best = min(taken, key=lambda peer: statistics.median(taken[peer]))
        for peer in dict.fromkeys((best, *(["library"] if "library" in taken else []))):
            claims.append(claim_of(f"{what}, {layer}: {way}", ours, peer, taken[peer]))
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    claims = [claim for layer in LAYERS for claim in measure(layer, options.rounds)]
    deliver(claims, options.json)
    beside = [claim["ratio"] for claim in claims if claim["peer"] == "library"]
    print(
        f"beside PyTorch's convolution, where another way is chosen: {len(beside)} choices,",
        f"ratios {min(beside):.2f} to {max(beside):.2f}, median {statistics.median(beside):.2f}",
    )
    print("oneDNN:", os.environ.get("ONEDNN_MAX_CPU_ISA", "all that the processor has"))


if __name__ == "__main__":
    main()
