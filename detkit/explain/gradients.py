"""Maps by gradients: saliency, deconvnet, guided backpropagation, Grad-CAM, integrated gradients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.capabilities import ComputesMaps, DecidesOnRegions
from detkit.errors import UserError
from detkit.explain.relu_rules import ReluRule, Rule
from detkit.explain.subject import OnStep, Subject

COMPLETE = 0.01  # integrated gradients add up to the difference that they explain, within this share of it
FIRST_STEPS, MOST_STEPS = 32, 512
_AT_ONCE = 4  # images whose activations are kept for the backward pass


def gradient(subject: Subject, pixels: Tensor) -> Tensor:
    """Return the (B, 3, H, W) gradient of each image's value by its own pixels.

    Args:
        subject: what is explained.
        pixels: (B, 3, H, W) float normalised images.
    """
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        (found,) = torch.autograd.grad(subject.value(pixels).sum(), pixels)
    return found.detach()


def saliency(subject: Subject) -> Tensor:
    """Return the (H, W) largest gradient by any colour of each pixel.

    Reference: Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks, ICLR 2014 workshop.
    """
    return gradient(subject, subject.normalised())[0].abs().amax(0)


def by_rule(subject: Subject, rule: Rule) -> Tensor:
    """Return the (H, W) largest backward signal by any colour, with another rule for ReLUs; see `ReluRule`.

    Raises:
        UserError: the network has no ReLU.
    """
    with ReluRule(rule) as applied:
        found = gradient(subject, subject.normalised())[0]
    if not applied.applied:
        raise UserError(f"{rule}: the network has no ReLU, which is what its rule is about")
    return found.abs().amax(0)


def integrated_gradients(
    subject: Subject, most_steps: int = MOST_STEPS, on_step: OnStep = lambda count: None
) -> tuple[Tensor, float]:
    """Return the (H, W) attributions of the pixels, and what they lack to the difference they explain.

    The gradient is integrated from the mean colour to the image; the steps are doubled until the sum of
    the attributions is the difference of both values within 1 %, or there are `most_steps`.

    Args:
        subject: what is explained.
        most_steps: at least 32.
        on_step: called with how many images more were looked at.

    Returns:
        The map, signed; and |sum - difference| / |difference|.

    Reference: Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017.
    """
    image = subject.normalised()
    with torch.no_grad():
        after, before = subject.value(torch.cat([image, torch.zeros_like(image)])).tolist()
    steps = FIRST_STEPS
    while True:
        total = torch.zeros_like(image)
        middles = (torch.arange(steps, device=image.device) + 0.5) / steps
        for shares in torch.split(middles, _AT_ONCE):
            total += gradient(subject, shares[:, None, None, None] * image).sum(0)
            on_step(len(shares))
        found = (image * total / steps)[0]
        lacks = abs(float(found.sum()) - (after - before)) / max(abs(after - before), 1e-12)
        if lacks <= COMPLETE or steps >= most_steps:
            return found.sum(0), lacks
        steps *= 2


def grad_cam(subject: Subject) -> Tensor:
    """Return the (H, W) positive part of the maps' mean, weighted by their gradients' means.

    The maps are those that regions are read from: the backbone's, or the neck's. Cells from which no gradient
    comes, such as those outside a pooled region, are left out: they have no part in the value.

    Raises:
        UserError: the model has no map of the whole image, or the value does not depend on it.

    Reference: Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    if not isinstance(subject.model, ComputesMaps):
        raise UserError("gradcam: the model reads each region by itself, and has no map of the whole image")
    modules = subject.model.map_modules()
    with torch.enable_grad(), _Watch(modules) as watch:
        value = subject.value(subject.normalised().requires_grad_()).sum()
        maps = watch.last_maps()
        grads = torch.autograd.grad(value, [own for own, _ in maps], allow_unused=True)
    height, width = subject.image.pixels.shape[2:]
    heat = torch.zeros((height, width), device=value.device)
    x1, y1, x2, y2 = cast(DecidesOnRegions, subject.model).seen(subject.image.sizes[0])
    for (own, size), slope in zip(maps, grads, strict=True):
        if slope is None:
            continue
        cam = (slope.mean((2, 3), keepdim=True) * own).sum(1).clamp(min=0) * (slope != 0).any(1)
        scaled = _to_image(cam.detach(), size, (y2 - y1, x2 - x1), subject.model)
        bottom, right = min(y2, height), min(x2, width)
        heat[y1:bottom, x1:right] += scaled[: bottom - y1, : right - x1]
    return heat


def _to_image(cam: Tensor, size: tuple[int, int], seen: tuple[int, int], model: nn.Module) -> Tensor:
    """Return a (1, h, w) map as large as what the network saw: cut where that was padded, else resized."""
    multiple: int = getattr(model, "multiple_of", 1)
    padded = tuple(-(-side // multiple) * multiple for side in seen)
    to = size if size == padded or all(a >= b for a, b in zip(size, padded, strict=True)) else seen
    large = F.interpolate(cam[None], to, mode="bilinear", align_corners=False)[0, 0]
    return large[: seen[0], : seen[1]]


class _Watch:
    """Keeps the maps that modules give inside the `with`, and the size of the pixels these are of."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules
        self.maps: dict[int, list[list[Tensor]]] = defaultdict(list)
        self.sizes: list[tuple[int, int]] = []

    def __enter__(self) -> _Watch:
        self.handles = [
            module.register_forward_hook(self._hook(number)) for number, module in enumerate(self.modules)
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _hook(self, number: int) -> Any:
        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if number == 0:
                self.sizes.append((inputs[0].shape[2], inputs[0].shape[3]))
            if isinstance(output, list | tuple) and all(own.dim() == 4 for own in output):
                self.maps[number].append(list(output))

        return keep

    def last_maps(self) -> list[tuple[Tensor, tuple[int, int]]]:
        """Return the maps of the module nearest to the output, each with the size of the pixels it is of."""
        calls = self.maps[max(self.maps)]
        return [(own, size) for maps, size in zip(calls, self.sizes, strict=False) for own in maps]
