import numpy as np
import pytest
import torch
from torch.nn import functional as F

from detkit.ops.distance_transform import distance_transform, moving_costs
from detkit.ops.kernels.distance_transform_loops import find_place


def _brute_force(scores, deformation, reach):
    """Return the best score and its place for each cell, trying all places within reach."""
    height, width = scores.shape
    ax, bx, ay, by = deformation
    best, place = np.full((height, width), -np.inf), np.zeros((height, width, 2), int)
    for y in range(height):
        for x in range(width):
            for column in range(max(x - reach, 0), min(x + reach + 1, width)):
                for row in range(max(y - reach, 0), min(y + reach + 1, height)):
                    dx, dy = x - column, y - row
                    value = scores[row, column] - ax * dx**2 - bx * dx - ay * dy**2 - by * dy
                    if value > best[y, x]:
                        best[y, x], place[y, x] = value, (row, column)
    return best, place


@pytest.mark.parametrize("reach", [0, 1, 4])
@pytest.mark.parametrize("size", [(12, 9), (1, 1), (2, 30)])
def test_it_is_the_best_of_all_places_within_reach(size, reach):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(5, *size))
    scores[0, :, : size[1] // 2] = -np.inf
    deformations = generator.uniform((0, -0.3, 0, -0.3), (0.2, 0.3, 0.2, 0.3), (5, 4))
    best, y, x = distance_transform(torch.from_numpy(scores), torch.from_numpy(deformations), reach)
    assert best.dtype == torch.float64
    for part in range(5):
        expected, place = _brute_force(scores[part], deformations[part], reach)
        np.testing.assert_allclose(best[part], expected, atol=1e-12)
        there = np.isfinite(expected)
        np.testing.assert_array_equal(np.stack([y[part], x[part]], -1)[there], place[there])


def test_of_equal_places_the_first_row_and_then_the_first_column_wins():
    scores = torch.zeros((1, 5, 5))
    best, y, x = distance_transform(scores, torch.zeros((1, 4)), 1)
    assert not best.any()
    assert y[0, :, 2].tolist() == [0, 0, 1, 2, 3]
    assert x[0, 2].tolist() == [0, 0, 1, 2, 3]


def test_a_rigid_part_stays_where_it_is():
    scores = torch.randn((2, 6, 7), generator=torch.Generator().manual_seed(0))
    best, y, x = distance_transform(scores, torch.tensor([[1000.0, 0, 1000, 0]] * 2))
    assert torch.equal(best, scores)
    assert torch.equal(y[1], torch.arange(6)[:, None].expand(6, 7))
    assert torch.equal(x[1], torch.arange(7).expand(6, 7))


def test_the_place_of_a_single_part_is_the_same():
    scores = torch.randn((3, 8, 9), generator=torch.Generator().manual_seed(0))
    scores[0, 2:, 3] = -torch.inf
    deformations = torch.tensor([[0.1, 0.02, 0.2, -0.03]] * 2 + [[0.0, 0.0, 0.0, 0.0]])
    _, y, x = distance_transform(scores, deformations)
    costs = moving_costs(deformations.numpy(), 4, np.float32)
    for part, row, column in np.ndindex(3, 8, 9):
        place = find_place(scores[part].numpy(), costs[1, part], costs[0, part], row, column)
        assert place == (y[part, row, column], x[part, row, column])


def test_costs_are_of_the_anchor_less_the_part():
    costs = moving_costs(np.array([[0.5, 1.0, 0.25, -1.0]]), 2)
    assert costs[0, 0].tolist() == [0, -0.5, 0, 1.5, 4]
    assert costs[1, 0].tolist() == [3, 1.25, 0, -0.75, -1]


def test_no_parts_and_no_cells_are_ordinary():
    assert distance_transform(torch.zeros((0, 3, 4)), torch.zeros((0, 4)))[0].shape == (0, 3, 4)
    assert distance_transform(torch.zeros((2, 0, 4)), torch.zeros((2, 4)))[1].shape == (2, 0, 4)


def _random(*size, parts=3):
    """Return scores and deformations that need gradients, in float64."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn((*size[:-2], parts, *size[-2:]), generator=generator, dtype=torch.float64)
    deformations = torch.rand((parts, 4), generator=generator, dtype=torch.float64) * 0.3
    return scores.requires_grad_(), deformations.requires_grad_()


def test_maps_of_several_images_are_those_of_each():
    scores, deformations = _random(2, 2, 6, 5)
    together = distance_transform(scores, deformations, 2)
    for image in np.ndindex(2, 2):
        alone = distance_transform(scores[image], deformations, 2)
        for own, whole in zip(alone, together, strict=True):
            assert torch.equal(own, whole[image])


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_gradients_are_those_of_differences(reach):
    inputs = _random(2, 5, 4)
    assert torch.autograd.gradcheck(lambda *given: distance_transform(*given, reach)[0], inputs)


def test_a_cell_pays_back_to_the_winner_and_to_the_costs_of_its_move():
    scores, deformations = _random(6, 7)
    best, y, x = distance_transform(scores, deformations, 2)
    weights = torch.randn(best.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    to_scores, to_costs = torch.autograd.grad((best * weights).sum(), (scores, deformations))
    expected_scores, expected_costs = torch.zeros_like(to_scores), torch.zeros_like(to_costs)
    for part, row, column in np.ndindex(3, 6, 7):
        source = y[part, row, column].item(), x[part, row, column].item()
        dy, dx = row - source[0], column - source[1]
        own = weights[part, row, column]
        expected_scores[part, source[0], source[1]] += own
        expected_costs[part] -= own * torch.tensor([dx**2, dx, dy**2, dy])
    torch.testing.assert_close(to_scores, expected_scores)
    torch.testing.assert_close(to_costs, expected_costs)


@pytest.mark.parametrize("reach", [1, 2])
def test_where_moving_is_free_it_is_max_pooling(reach):
    scores, _ = _random(2, 9, 8)
    moved = distance_transform(scores, torch.zeros((3, 4)), reach)[0]
    pooled = F.max_pool2d(scores, 2 * reach + 1, stride=1, padding=reach)
    assert torch.equal(moved, pooled)
    weights = torch.arange(moved.numel(), dtype=torch.float64).view(moved.shape)
    own, theirs = (torch.autograd.grad((each * weights).sum(), scores)[0] for each in (moved, pooled))
    torch.testing.assert_close(own, theirs)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(kind):
    scores, deformations = (given.detach().float() for given in _random(7, 6))
    best, y, x = distance_transform(scores.to(kind), deformations, 2)
    exact = distance_transform(scores.to(kind).float(), deformations, 2)
    assert best.dtype == kind
    assert torch.equal(best, exact[0].to(kind))
    assert torch.equal(y, exact[1])
    assert torch.equal(x, exact[2])


def test_it_is_an_operator_that_compilers_know():
    scores, deformations = _random(2, 5, 4)
    looked_at = ("test_schema", "test_autograd_registration", "test_faketensor")
    operator = torch.ops.detkit.distance_transform.default
    torch.library.opcheck(operator, (scores, deformations, 2), test_utils=looked_at)
