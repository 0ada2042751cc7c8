"""Images made for a network: of a class, of a layer's code of a photograph, and of what a layer dreams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.errors import UserError
from detkit.explain.layers import Layer
from detkit.explain.regularisers import (
    alpha_norm,
    as_pixels,
    blur,
    clip_small,
    jitter,
    total_variation,
    within_colours,
)
from detkit.explain.subject import OnStep, Subject, normalised

Method = Literal["maximise", "invert", "dream"]
METHODS: tuple[Method, ...] = get_args(Method)
SMALLEST_PX = 32  # along a side: what the poolings of networks need

_OCTAVE = 1.4  # from one size to the next, that of DeepDream
_NOISE = 0.1  # deviation of what is begun with, beside the 1 of photographs
_BETA = 2  # power of the total variation
_LEAST_CODE = 1e-12

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How an image is made: Adam on its pixels, with what keeps it like an image.

    Attributes:
        steps: in all sizes together.
        octaves: sizes from coarse to fine, each 1.4 times the one before; the last is that of the image.
        lr: of Adam, in deviations of a photograph's pixels; it falls to 0.
        decay: weight of the pixels' norm.
        alpha: its power.
        variation: weight of the total variation.
        jitter: up to this share of its longer side the image is shifted before each step, and back behind it.
        blur_every: after every so many-th step the image is blurred; 0 never.
        blur_px: deviation of that blur.
        clip_norm: share of the pixels that are set to the mean colour after each step, those nearest to it.
        clip_contribution: likewise, those that matter least for the value.
    """

    steps: int
    octaves: int = 1
    lr: float = 0.05
    decay: float = 0.0
    alpha: float = 2.0
    variation: float = 0.0
    jitter: float = 0.0
    blur_every: int = 0
    blur_px: float = 0.5
    clip_norm: float = 0.0
    clip_contribution: float = 0.0


RECIPES: dict[Method, Recipe] = {
    "maximise": Recipe(256, 4, decay=1.0, variation=2.0, jitter=1 / 32, blur_every=8),
    "invert": Recipe(400, lr=0.1, decay=1e-4, alpha=6.0, variation=0.2),
    "dream": Recipe(160, 4, lr=0.04, jitter=1 / 32),
}


@dataclass(frozen=True)
class Imagined:
    """An image that was made, and what the network says of it and of the image that was begun with.

    Attributes:
        pixels: (1, 3, H, W) uint8 RGB, as it is written: `after` is of these.
        before: a logit, a distance to a code, or a norm.
        after: the same at the end.
        values: what was minimised, at each step, regularisers included.
    """

    pixels: Tensor
    before: float
    after: float
    values: tuple[float, ...]


def maximise(subject: Subject, recipe: Recipe, seed: int, on_step: OnStep) -> Imagined:
    """Return the image whose value, such as a class's logit, is highest, from noise.

    The network always sees the image in its own size. Coarse sizes have fewer pixels, which are enlarged for
    it, so that shapes come before their detail.

    Args:
        subject: what is maximised, with a gradient; of its image the size counts alone.
        recipe: how.
        seed: of the noise and the jitter.
        on_step: see `OnStep`.

    Reference: Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks, ICLR 2014 workshop;
    Yosinski et al., Understanding neural networks through deep visualization, ICML 2015 workshop.
    """
    chance = torch.Generator().manual_seed(seed)
    size, start = subject.image.sizes[0], _noise(subject.image.pixels, chance)
    image, values = start, list[float]()

    def loss(pixels: Tensor) -> Tensor:
        return -subject.value(_resized(pixels, size)).sum()

    for octave, steps in _octaves(size, recipe):
        image, added = _descend(_resized(image, octave), loss, recipe, steps, chance, on_step)
        values += added
    return _imagined(image, start, lambda pixels: float(subject.value(pixels)), values)


def invert(layer: Layer, given: Tensor, recipe: Recipe, seed: int, on_step: OnStep) -> Imagined:
    """Return an image, from noise, whose code at a layer is that of a given image.

    Its value is the distance of the codes: |code - given code|^2 / |given code|^2.

    Args:
        layer: what makes the code.
        given: (1, 3, H, W) normalised image.
        recipe: how; octaves and jitter have no part in it, because places are compared.
        seed: of the noise.
        on_step: see `OnStep`.

    Raises:
        UserError: the code is 0 everywhere.

    Reference: Mahendran and Vedaldi, Understanding deep image representations by inverting them, CVPR 2015.
    """
    with torch.no_grad():
        wanted = layer(given)
    length = wanted.square().sum()
    if float(length) < _LEAST_CODE:
        raise UserError(f"layer: {layer.name} gives nothing but 0 for the image, and says nothing of it")
    chance = torch.Generator().manual_seed(seed)
    start = _noise(given, chance)

    def distance(pixels: Tensor) -> Tensor:
        return (layer(pixels) - wanted).square().sum() / length

    image, values = _descend(start, distance, recipe, recipe.steps, chance, on_step)
    return _imagined(image, start, lambda pixels: float(distance(pixels)), values)


def dream(layer: Layer, given: Tensor, recipe: Recipe, seed: int, on_step: OnStep) -> Imagined:
    """Return a given image with more of whatever a layer sees in it: the norm of its activations is raised.

    The network sees the image in several sizes, coarse first. What was added in one is enlarged and added to
    the given image in the next, so that its own detail stays.

    Args:
        layer: whose activations grow.
        given: (1, 3, H, W) normalised image.
        recipe: how.
        seed: of the jitter.
        on_step: see `OnStep`.

    Reference: Mordvintsev, Olah and Tyka, Inceptionism: going deeper into neural networks, 2015.
    """
    chance = torch.Generator().manual_seed(seed)
    image, added, values = given, torch.zeros_like(given), list[float]()

    def loss(pixels: Tensor) -> Tensor:
        return -layer(pixels).square().mean().sqrt()

    for octave, steps in _octaves((given.shape[2], given.shape[3]), recipe):
        base = _resized(given, octave)
        begun = base + _resized(added, octave)
        image, own = _descend(begun, loss, recipe, steps, chance, on_step)
        added, values = image - base, values + own
    return _imagined(image, given, lambda pixels: float(layer(pixels).norm()), values)


def _descend(
    start: Tensor, loss: Loss, recipe: Recipe, steps: int, chance: torch.Generator, on_step: OnStep
) -> tuple[Tensor, list[float]]:
    """Return the image whose loss, regularised, is lower, and this loss of each step."""
    image = within_colours(start).detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([image], recipe.lr)
    slower = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    values = list[float]()
    for step in range(steps):
        reach = round(recipe.jitter * max(image.shape))
        shift = torch.randint(-reach, reach + 1, (2,), generator=chance).tolist()
        with torch.enable_grad():
            value = loss(jitter(image, shift))
            if not value.requires_grad:  # a part of the user's own
                raise UserError("the model has no gradient to the pixels: nothing can be raised or lowered")
            value = value + recipe.decay * alpha_norm(image, recipe.alpha)
            value = value + recipe.variation * total_variation(image, _BETA)
            (image.grad,) = torch.autograd.grad(value, image)
        values.append(float(value.detach()))
        if not (value.isfinite() and image.grad.isfinite().all()):
            raise UserError(f"step {len(values)}: the value or its gradient is not a finite number")
        optimizer.step()
        slower.step()
        with torch.no_grad():
            image.copy_(_regularised(image, image.grad, recipe, step, steps))
        on_step(1)
    return image.detach(), values


def _regularised(image: Tensor, grad: Tensor, recipe: Recipe, step: int, steps: int) -> Tensor:
    """Return the image after a step, blurred and clipped as asked for; not blurred after the last."""
    if recipe.blur_every and (step + 1) % recipe.blur_every == 0 and step + 1 < steps:
        image = blur(image, recipe.blur_px)
    image = clip_small(image, image.norm(dim=1, keepdim=True), recipe.clip_norm)
    mattering = (image * grad).sum(1, keepdim=True).abs()
    return within_colours(clip_small(image, mattering, recipe.clip_contribution))


def _octaves(size: tuple[int, int], recipe: Recipe) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield (height, width) and steps of each size, coarse first; none has a side too short for a network."""
    for number in range(recipe.octaves):
        factor = _OCTAVE ** (number + 1 - recipe.octaves)
        height, width = (max(SMALLEST_PX, round(side * factor)) for side in size)
        first, last = (recipe.steps * part // recipe.octaves for part in (number, number + 1))
        if last > first:
            yield (height, width), last - first


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[2:] == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)


def _noise(like: Tensor, chance: torch.Generator) -> Tensor:
    return (_NOISE * torch.randn(like.shape, generator=chance)).to(like.device)


@torch.no_grad()
def _imagined(
    image: Tensor, start: Tensor, value: Callable[[Tensor], float], values: list[float]
) -> Imagined:
    pixels = as_pixels(image)
    before, after = (value(normalised(own)) for own in (as_pixels(start), pixels))
    return Imagined(pixels, before, after, tuple(values))
