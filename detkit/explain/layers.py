"""Layers of a model by the names of its modules, and what each gives of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detkit.capabilities import ComputesMaps, DecidesOnRegions
from detkit.errors import UserError, cut, nearest, shown
from detkit.structures import ImageBatch

_DIM_OF_MAPS = 4
_LONGEST_NAME = 200  # letters of a name that is compared with those there are


class _Reached(Exception):
    """The layer that was asked for has run: the rest of the network need not."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


@dataclass(frozen=True)
class Layer:
    """A module of a model, and how the model comes to run it.

    Attributes:
        name: as `named_modules` has it.
        module: the module itself.
        run: makes the model read (1, 3, H, W) normalised images, this layer included.
        has_maps: whether it gives (B, C, h, w) maps; otherwise vectors.
    """

    name: str
    module: nn.Module
    run: Callable[[Tensor], object]
    has_maps: bool

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return what the layer gives when it is run first, with gradient: (1, C, h, w) maps, or vectors.

        Nothing behind the layer runs, so that nothing can change its output in place either.

        Args:
            pixels: (1, 3, H, W) float normalised images.
        """
        handle = self.module.register_forward_hook(_stop)
        try:
            self.run(pixels)
        except _Reached as reached:
            return reached.output
        finally:
            handle.remove()
        raise AssertionError(f"{self.name} ran before, and does not any more")


def _stop(module: nn.Module, inputs: Any, output: Any) -> None:
    raise _Reached(output)


def layers_of(model: nn.Module, size: tuple[int, int]) -> list[Layer]:
    """Return the layers that read an image, in the order in which they are done.

    The network of maps reads all of the image. What is behind it, and a network that reads regions alone, is
    asked about the whole image as a region. Convolutions that are one operation with their frozen norm are
    not run by themselves, and have no output of their own.

    Args:
        model: in evaluation mode.
        size: (height, width) of an image in pixels.
    """
    blank = torch.zeros((1, 3, *size), device=next(model.parameters()).device)
    found: dict[str, Layer] = {}
    for run in _ways(model):
        with _noted(model) as dims, torch.no_grad(), suppress(UserError):  # a part of the user's own
            run(blank)
        for name, dim in dims.items():
            found.setdefault(name, Layer(name, model.get_submodule(name), run, dim == _DIM_OF_MAPS))
    return list(found.values())


def layer_of(model: nn.Module, size: tuple[int, int], name: str | None) -> Layer:
    """Return a layer by its name.

    Args:
        model: in evaluation mode.
        size: (height, width) of an image in pixels.
        name: of its module; None takes the last stage of the backbone: the last layer with maps.

    Raises:
        UserError: the model has no such layer, or none at all.
    """
    layers = {layer.name: layer for layer in layers_of(model, size)}
    if not layers:
        raise UserError("layer: the model is no network, or none that says what its layers give")
    if name is None:
        first = next(iter(layers.values())).run
        own = [layer for layer in layers.values() if layer.run is first]
        return ([layer for layer in own if layer.has_maps] or own)[-1]
    if name in layers:
        return layers[name]
    is_there = name in dict(model.named_modules())
    what = "gives nothing by itself" if is_there else "is no layer of the model"
    guess = nearest(name[:_LONGEST_NAME], layers)
    raise UserError(f"layer: {shown(name)} {what}; {guess}there are {cut(', '.join(layers), 1000)}")


@contextmanager
def _noted(model: nn.Module) -> Iterator[dict[str, int]]:
    """Give the names of modules that run inside, as they end, each with the dimensions of its tensor."""
    dims: dict[str, int] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() > 1:
                dims.setdefault(name, output.dim())

        return note

    handles = [module.register_forward_hook(noting(name)) for name, module in model.named_modules() if name]
    try:
        yield dims
    finally:
        for handle in handles:
            handle.remove()


def _ways(model: nn.Module) -> Iterator[Callable[[Tensor], object]]:
    """Yield what runs the model on images: its network of maps, then all of it with the image as region."""
    if isinstance(model, ComputesMaps):
        network = model.map_modules()[0]
        yield lambda pixels: network(pixels.contiguous(memory_format=torch.channels_last))
    if isinstance(model, DecidesOnRegions):
        decide = model.decide

        def whole(pixels: Tensor) -> object:
            height, width = pixels.shape[2:]
            box = pixels.new_tensor([[0.0, 0.0, width, height]])
            sizes = ((height, width),) * len(pixels)
            return decide(ImageBatch(pixels, sizes, sizes), [box] * len(pixels))

        yield whole
