"""Vectors of given regions at a layer of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import log2
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.capabilities import ComputesMaps, EmbedsRegions, ReadsRegions
from detkit.errors import UserError, cut, nearest, shown
from detkit.ops.roi_align import roi_align
from detkit.structures import ImageBatch

DECISION = "decision"
"""The vector that a detector decides on."""
FC_LAYERS = ("pool5", "fc6", "fc7")
"""Layers of a network with two fully connected ones, as papers call them."""

_CELLS, _SAMPLES = 7, 2  # of RoIAlign, whose cells are averaged


class _Call(NamedTuple):
    """What a module was called with, and what it returned."""

    given: Any
    made: Any


class LayerReader:
    """Reads the vectors of given regions at a layer.

    A layer is the decision's own vector; pool5, fc6 or fc7; or any module by its name. Of a module that makes
    maps of whole images a region's vector is the mean over what RoIAlign takes from the last of its maps; of
    one that makes maps of regions, the mean over their cells.

    Args:
        model: in evaluation mode.
        layer: its name.

    Raises:
        UserError: the model embeds no regions, or has no such layer.
    """

    def __init__(self, model: nn.Module, layer: str = DECISION) -> None:
        if not isinstance(model, EmbedsRegions):
            raise UserError(
                "the detector has no vector of a given region; embed takes detectors of regions on networks, "
                "classifiers and localizers"
            )
        self.model, self.layer = model, layer
        self.is_whole = model.embeds_whole_images
        self._module = self._find()

    def __call__(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the (R, D) float32 vectors of all images' regions, image by image.

        Args:
            images: a batch.
            boxes: for each image, (R_i, 4) corner boxes in its pixels; see `EmbedsRegions.embed`.

        Raises:
            UserError: the layer is not used on regions, or makes something else than vectors of them.
        """
        calls: list[_Call] = []
        with ExitStack() as stack:
            if self._module is not None:
                handle = self._module.register_forward_hook(
                    lambda module, given, made: calls.append(_Call(given, made))
                )
                stack.callback(handle.remove)
            vectors = cast(EmbedsRegions, self.model).embed(images, boxes)
        if self._module is not None:
            vectors = self._of_calls(calls, images, boxes)
        return vectors.float()

    def _find(self) -> nn.Module | None:
        decides = self.model.layer if isinstance(self.model, ReadsRegions) else DECISION
        if self.layer in {DECISION, decides}:
            return None
        modules: dict[str, nn.Module] = {name: part for name, part in self.model.named_modules() if name}
        name = "fc6" if self.layer == "pool5" else self.layer
        found = [path for path in modules if f".{path}".endswith(f".{name}")]
        if found:
            return modules[found[-1]]
        known = [DECISION, *FC_LAYERS, *modules]
        raise UserError(
            f"layer: the model has no {shown(self.layer)}; {nearest(self.layer, known)}there are {DECISION} "
            f"and {cut(', '.join(modules), 1000)}"
        )

    def _of_calls(self, calls: Sequence[_Call], images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        if not calls:
            raise self._refusal("is not used where regions are decided on")
        maps = self._makes_maps()
        made = [self._output(call) for call in calls]
        if maps and not self.is_whole:
            return _pooled(made[0], images, boxes)  # smaller copies of the image come behind it
        vectors = torch.cat([one.flatten(2).mean(2) if one.dim() > 2 else one for one in made])
        count = len(images) if self.is_whole else sum(map(len, boxes))
        if len(vectors) != count:
            raise self._refusal(f"makes {len(vectors)} vectors of {count} regions")
        return vectors

    def _output(self, call: _Call) -> Tensor:
        """Return what a layer has made as a tensor, as the papers count: behind the ReLU."""
        if self.layer == "pool5":
            pool5: Tensor = call.given[0].flatten(1)
            return pool5
        made = call.made[-1] if isinstance(call.made, list | tuple) and call.made else call.made
        if not isinstance(made, Tensor) or made.dim() not in {2, 4}:
            raise self._refusal("makes no vectors or maps")
        return F.relu(made) if self.layer in FC_LAYERS else made

    def _makes_maps(self) -> bool:
        """Return whether the layer is a part of what computes maps of whole images."""
        if not isinstance(self.model, ComputesMaps):
            return False
        return any(part is self._module for owner in self.model.map_modules() for part in owner.modules())

    def _refusal(self, what: str) -> UserError:
        return UserError(f"layer: {shown(self.layer)} {what}; take {DECISION} or another module")


def _pooled(features: Tensor, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
    """Return (R, C) means of what RoIAlign takes from (B, C, h, w) maps of the images."""
    sides = zip(images.pixels.shape[2:], features.shape[2:], strict=True)
    stride = 2 ** round(log2(max(pixels / cells for pixels, cells in sides)))
    counts = torch.tensor([len(own) for own in boxes], device=features.device)
    owners = torch.arange(len(boxes), device=features.device).repeat_interleave(counts)
    cells = roi_align(features, torch.cat(list(boxes)), owners, 1 / stride, _CELLS, _SAMPLES, True)
    return cells.mean(dim=(2, 3))
