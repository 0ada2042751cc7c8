"""Star models as layers, against the formulas place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.detectors.dpm_cnn.stars import DistanceTransformPooling, Stars, spread
from tests.reference.star_layers import star_margin

C, K, P = 3, 2, 2


def stars(root: tuple[int, int], num_parts: int = P, part: tuple[int, int] = (2, 3)) -> Stars:
    """Return star models with weights of any kind, in float64."""
    made = Stars(C, K, root, num_parts=num_parts, part=part, reach=2, regresses=True).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3
    return made


def features(*size: int) -> torch.Tensor:
    return torch.randn((2, C, *size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("root", [(4, 4), (5, 3), (2, 7)])
def test_each_margin_is_that_of_the_formula_with_its_parts(root: tuple[int, int]) -> None:
    model, maps = stars(root), features(5, 4)
    with torch.no_grad():
        placed = model(maps)
    assert model.pooling is not None
    assert model.parts is not None
    costs = model.pooling.deformations().detach().numpy()
    for image, label, y, x in np.ndindex(2, K, 5, 4):
        own = slice(label * P, (label + 1) * P)
        margin, places = star_margin(
            maps[image].numpy(),
            model.root.weight[label].detach().numpy(),
            model.root.bias[label].item(),
            model.parts.weight[own].detach().numpy(),
            model.anchors,
            costs[own],
            2,
            (y, x),
        )
        assert placed.margins[image, label, y, x].item() == pytest.approx(margin, abs=1e-9)
        at = torch.tensor([y]), torch.tensor([x])
        boxes = model.part_boxes(placed, image, torch.tensor([label]), *at)[0]
        assert boxes.tolist() == [[left, top, left + 3, top + 2] for top, left in places]


def test_a_root_lies_around_its_place() -> None:
    model = stars((5, 2), 0)
    assert model.boxes(torch.tensor([4, 0]), torch.tensor([7, 0])).tolist() == [[6, 2, 8, 7], [-1, -2, 1, 3]]
    maps = torch.zeros((1, C, 9, 9), dtype=torch.float64)
    maps[0, :, 2:7, 6:8] = model.root.weight[1]
    margins = model(maps).margins[0, 1]
    expected = model.root.weight[1].square().sum() + model.root.bias[1]
    assert margins[4, 7].item() == pytest.approx(expected.item())


def test_deltas_are_a_linear_function_of_the_root() -> None:
    model, maps = stars((3, 3), 0), features(4, 4)
    deltas = model(maps).deltas
    assert deltas is not None
    assert model.deltas is not None
    by_hand = (maps[1, :, 0:3, 1:4] * model.deltas.weight[2]).sum() + model.deltas.bias[2]
    assert deltas.shape == (2, 4, 4, 4)
    assert deltas[1, 2, 1, 2].item() == pytest.approx(by_hand.item())


def test_the_gradient_reaches_features_filters_and_deformations() -> None:
    model = stars((3, 3))
    maps = features(4, 3).requires_grad_()
    names = [name for name, _ in model.named_parameters() if not name.startswith("deltas")]
    values = [dict(model.named_parameters())[name] for name in names]

    def margins(maps: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        replaced = dict(zip(names, given, strict=True))
        return torch.func.functional_call(model, replaced, (maps,)).margins

    assert torch.autograd.gradcheck(margins, (maps, *values))


def test_moving_costs_what_it_does_in_release_5_at_first_and_never_nothing() -> None:
    pooling = DistanceTransformPooling(2)
    torch.testing.assert_close(pooling.deformations(), torch.tensor([[0.01, 0.0, 0.01, 0.0]] * 2))
    torch.nn.init.zeros_(pooling.stiffness)
    assert pooling.deformations()[:, ::2].min() > 0


def test_parts_lie_evenly_over_the_root() -> None:
    assert spread((6, 6), 4, (3, 3)) == [(0, 0), (0, 3), (3, 0), (3, 3)]
    assert spread((4, 10), 1, (2, 2)) == [(1, 4)]
    # In a low root they lie side by side, and not two in one place.
    assert spread((3, 9), 4, (3, 3)) == [(0, 0), (0, 2), (0, 4), (0, 6)]
    assert spread((3, 5), 4, (3, 3)) == [(0, 0), (0, 1), (0, 1), (0, 2)]
    assert spread((5, 5), 0, (3, 3)) == []


def test_classes_own_their_filters() -> None:
    model = stars((3, 3))
    state = model.state_dict()
    for layer, outputs in model.outputs_per_class.items():
        assert all(len(value) == K * outputs for name, value in state.items() if name.startswith(layer))
