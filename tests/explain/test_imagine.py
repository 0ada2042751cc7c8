from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import UserError
from detkit.explain.imagine import RECIPES, Imagined, Recipe, dream, invert, maximise
from detkit.explain.layers import layer_of
from detkit.explain.subject import normalised
from detkit.structures import ImageBatch, RegionDecision
from tests.explain.layered import SIDE, layered, photograph
from tests.explain.patch import COLUMNS, ROWS, Patch, patch_subject

SIZE = (SIDE, SIDE)
SHORT = replace(RECIPES["maximise"], steps=16)


def quiet(count: int) -> None:
    """Say nothing of steps."""


def inverted(name: str | None, recipe: Recipe, seed: int = 0) -> Imagined:
    return invert(layer_of(layered(), SIZE, name), photograph(), recipe, seed, quiet)


def test_maximising_brightens_what_the_value_depends_on() -> None:
    steps: list[int] = []
    made = maximise(patch_subject(), SHORT, 0, steps.append)
    assert sum(steps) == len(made.values) == SHORT.steps
    assert made.after > made.before + 0.5
    with torch.no_grad():
        assert made.after == pytest.approx(float(patch_subject().value(made.pixels)), rel=1e-4)
    inside = made.pixels[0, :, ROWS, COLUMNS].float().mean()
    assert inside > made.pixels.float().mean() + 10
    assert made.pixels.dtype == torch.uint8
    assert made.pixels.shape == patch_subject().image.pixels.shape


def test_the_value_is_weighed_against_the_regularisers() -> None:
    """Decay draws to grey, variation makes even: of plain ascent neither."""
    plain = Recipe(24, 1, lr=0.2)
    free = maximise(patch_subject(), plain, 0, quiet)
    decayed = maximise(patch_subject(), replace(plain, decay=20.0), 0, quiet)
    even = maximise(patch_subject(), replace(plain, variation=20.0), 0, quiet)
    sizes = [normalised(made.pixels).square().mean() for made in (free, decayed)]
    assert sizes[1] < sizes[0]
    steps = [normalised(made.pixels).diff(dim=3).abs().mean() for made in (free, even)]
    assert steps[1] < steps[0]


@pytest.mark.parametrize("change", [{"clip_norm": 0.6}, {"clip_contribution": 0.6}])
def test_clipped_pixels_are_grey(change: dict[str, float]) -> None:
    made = maximise(patch_subject(), replace(SHORT, octaves=1, **change), 0, quiet)
    grey = (normalised(made.pixels).abs() < 0.02).all(dim=1)
    assert grey.float().mean() >= 0.59
    assert not grey[0, ROWS, COLUMNS].all()


def test_blur_takes_high_frequencies() -> None:
    steps = []
    for every in (0, 2):
        made = maximise(patch_subject(), replace(SHORT, octaves=1, variation=0.0, blur_every=every), 0, quiet)
        steps.append(float(normalised(made.pixels).diff(dim=3).abs().mean()))
    assert steps[1] < 0.8 * steps[0]


def test_contributions_decide_where_they_are_asked_for() -> None:
    made = maximise(patch_subject(), Recipe(1, clip_contribution=0.9), 0, quiet)
    coloured = torch.nonzero((normalised(made.pixels).abs() > 0.02).any(dim=1)[0])
    rows, columns = coloured[:, 0], coloured[:, 1]
    assert len(coloured) > 200
    assert ((rows >= ROWS.start) & (rows < ROWS.stop)).all()
    assert ((columns >= COLUMNS.start) & (columns < COLUMNS.stop)).all()


def test_the_learning_rate_falls_to_nothing() -> None:
    """Adam's first steps along an even slope are as long as the rate: 1 and 1 / 2 of it."""
    first, both = (maximise(patch_subject(), Recipe(steps, lr=0.4), 0, quiet).pixels for steps in (1, 2))
    added = (normalised(both) - normalised(first))[:, :, ROWS, COLUMNS]
    torch.testing.assert_close(added, torch.full_like(added, 0.2), atol=0.02, rtol=0)


def test_the_last_step_is_not_blurred() -> None:
    plain = Recipe(2, lr=0.2)
    made = [maximise(patch_subject(), replace(plain, blur_every=every), 0, quiet) for every in (0, 2, 1)]
    assert torch.equal(made[0].pixels, made[1].pixels)
    assert not torch.equal(made[0].pixels, made[2].pixels)


def test_sizes_go_from_coarse_to_fine_and_detail_stays() -> None:
    model, sizes = layered(), list[int]()
    image = F.interpolate(photograph(), (112, 112))
    layer = layer_of(model, (112, 112), "backbone.stage2")
    model.backbone.register_forward_pre_hook(lambda module, given: sizes.append(given[0].shape[3]))
    made = dream(layer, image, Recipe(9, 4, lr=1e-6), 0, quiet)
    assert sizes == [41] * 2 + [57] * 2 + [80] * 2 + [112] * 3 + [112] * 2  # and what is said of both images
    torch.testing.assert_close(normalised(made.pixels), image, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["backbone.stage1", "backbone.stage2", "backbone.stage3"])
def test_inversion_takes_nine_tenths_of_the_distance_away(name: str) -> None:
    made = inverted(name, replace(RECIPES["invert"], steps=120, variation=0.01))
    assert made.after <= 0.1 * made.before
    layer = layer_of(layered(), SIZE, name)
    with torch.no_grad():
        wanted, found = layer(photograph()), layer(normalised(made.pixels))
    distance = float((found - wanted).norm() ** 2 / wanted.norm() ** 2)
    assert made.after == pytest.approx(distance, rel=1e-4)


def test_an_early_layer_keeps_the_photograph() -> None:
    made = inverted("backbone.stage1", replace(RECIPES["invert"], steps=120, variation=0.01))
    away = (normalised(made.pixels) - photograph()).square().mean()
    assert away < 0.1 * photograph().square().mean()


def test_dreaming_raises_the_norm_and_keeps_the_photograph() -> None:
    layer, image = layer_of(layered(), SIZE, "backbone.stage3"), photograph()
    made = dream(layer, image, replace(RECIPES["dream"], steps=24), 0, quiet)
    assert made.after > 1.2 * made.before
    with torch.no_grad():
        assert made.after == pytest.approx(float(layer(normalised(made.pixels)).norm()), rel=1e-4)
        assert made.before == pytest.approx(float(layer(image).norm()), rel=1e-2)
    both = torch.stack([normalised(made.pixels).flatten(), image.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.7


MAKERS: dict[str, Callable[[int], Imagined]] = {
    "maximise": lambda seed: maximise(patch_subject(), SHORT, seed, quiet),
    "invert": lambda seed: inverted(None, replace(RECIPES["invert"], steps=6), seed),
    "dream": lambda seed: dream(
        layer_of(layered(), SIZE, None), photograph(), replace(RECIPES["dream"], steps=8), seed, quiet
    ),
}


@pytest.mark.parametrize("method", MAKERS)
def test_the_seed_decides(method: str) -> None:
    first, again, other = (MAKERS[method](seed) for seed in (0, 0, 1))
    assert torch.equal(first.pixels, again.pixels)
    assert first.values == again.values
    assert not torch.equal(first.pixels, other.pixels)


def test_steps_fewer_than_octaves_are_done_all() -> None:
    assert len(maximise(patch_subject(), replace(SHORT, steps=3, octaves=7), 0, quiet).values) == 3


def test_a_code_of_nothing_is_refused() -> None:
    model = layered()
    nn.init.zeros_(model.backbone.stage2.weight)
    assert model.backbone.stage2.bias is not None
    nn.init.zeros_(model.backbone.stage2.bias)
    layer = layer_of(model, SIZE, "backbone.stage2")
    with pytest.raises(UserError, match=r"layer: backbone\.stage2 gives nothing but 0"):
        invert(layer, photograph(), RECIPES["invert"], 0, quiet)


class Broken(Patch):
    """Its weights are no numbers."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.weight, torch.nan)


class Deaf(Patch):
    """It says the same of everything."""

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        with torch.no_grad():
            return super().decide(images, boxes)


def test_a_model_without_a_gradient_is_refused() -> None:
    with pytest.raises(UserError, match="the model has no gradient to the pixels"):
        maximise(patch_subject(Deaf()), Recipe(2), 0, quiet)


def test_values_that_are_no_numbers_stop_it() -> None:
    with pytest.raises(UserError, match="step 1: the value or its gradient is not a finite number"):
        maximise(patch_subject(Broken()), SHORT, 0, quiet)
